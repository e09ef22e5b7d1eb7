"""What the door says of itself now: streams, queue, refusals. Read from its `/metrics`, at most once a second.

The door counts from its own start, so its counters say "since the door started"; a door that does not answer is
said to be silent, and its last word is not shown as if it were new.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

Json = dict[str, Any]

# Loopback, and a page waits for it.
TIMEOUT_S = 1.0
KEEP_S = 1.0
# A gateway of a hundred replicas writes some tens of kilobytes.
MAX_BYTES = 2_000_000

GAUGES = {
    "tieline_gateway_live_requests": "live",
    "tieline_gateway_waiting_requests": "waiting",
    "tieline_gateway_connections": "connections",
    "tieline_gateway_kept_bytes": "kept_bytes",
    "tieline_gateway_outbox_rows": "outbox_rows",
    "tieline_gateway_resumed_total": "resumed",
}


class Doorway:
    """One reader for all pages."""

    def __init__(self, gateway_url: str) -> None:
        self.url = gateway_url.rstrip("/").removesuffix("/v1")
        self._client: httpx.AsyncClient | None = None
        self._told: tuple[float, Json] | None = None
        self._lock = asyncio.Lock()

    async def now(self) -> Json:
        """`ok` False with a reason where the door does not answer; figures it does not give are None."""
        if not self.url:
            return {"ok": False, "detail": "no gateway is configured for this console"}
        async with self._lock:
            loop_now = asyncio.get_running_loop().time()
            if self._told is None or loop_now - self._told[0] >= KEEP_S:
                self._told = (loop_now, await self._ask())
            return self._told[1]

    async def _ask(self) -> Json:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        try:
            answer = await self._client.get(f"{self.url}/metrics")
        except httpx.HTTPError as error:
            return {"ok": False, "detail": f"the gateway does not answer ({type(error).__name__})"}
        if answer.status_code != 200 or len(answer.content) > MAX_BYTES:
            return {"ok": False, "detail": f"the gateway does not tell its figures (HTTP {answer.status_code})"}
        try:
            return {"ok": True, "detail": "", **read_metrics(answer.text)}
        except ValueError as error:
            return {"ok": False, "detail": f"the gateway's figures cannot be read: {error}"}

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def read_metrics(text: str) -> Json:
    """Figures of one door by the names that pages use. Raises ValueError for what is no Prometheus text."""
    metrics: Json = {**dict.fromkeys(GAUGES.values()), "refused": {}, "ended": {}, "replicas": {}}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            value = int(sample.value)
            if sample.name in GAUGES:
                metrics[GAUGES[sample.name]] = value
            elif sample.name == "tieline_gateway_refused_total":
                metrics["refused"][sample.labels.get("code", "")] = value
            elif sample.name == "tieline_gateway_hops_total":
                metrics["ended"][sample.labels.get("ended", "")] = value
            elif sample.name == "tieline_gateway_replica_live":
                metrics["replicas"][sample.labels.get("replica", "")] = {
                    "live": value,
                    "state": sample.labels.get("state", ""),
                }
    return metrics
