"""The gateway's /admin as one tenant may use it: its own limits and keys, whatever a request says.

The platform's own credential stays here. Keys that administer are neither listed nor touched: whoever rotated one
would hold the whole gateway.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from tieline import intake

Json = dict[str, Any]
# Loopback; a change is on disk before it is answered.
TIMEOUT: Final = httpx.Timeout(10.0, connect=2.0)
# 50,000 keys of 300 bytes, the most that a gateway holds.
MAX_BYTES: Final = 32_000_000
# Keys of one tenant that are made here: none may fill the gateway for all others.
MAX_KEYS: Final = 200
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class GatewayRefusedError(Exception):
    """What the gateway, or the way to it, says to a request; `status` is what the page is answered with."""

    def __init__(self, status: int, why: str) -> None:
        self.status, self.why = status, why
        super().__init__(why)


class NotTheirsError(Exception):
    """An id that is not of this tenant, or of nobody: the two are answered alike."""

    def __init__(self, what: str, id_: str) -> None:
        self.what, self.id = what, id_
        super().__init__(f"no {what} {id_!r}")


class TenantKeys:
    """One client for all pages. `credential` gives the secret of a key with role 'admin', or None."""

    def __init__(self, gateway_url: str, credential: Callable[[], str | None]) -> None:
        self.url = gateway_url.rstrip("/").removesuffix("/v1")
        self._credential = credential
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def tenant(self, tenant: str) -> Json:
        """Its limits and projects, as the gateway has them in force."""
        answer: Json = await self._ask("GET", "tenants", tenant)
        return answer

    async def budgets(self, tenant: str) -> list[Json]:
        """What is granted and left of each budget; a budget in slices, shared by processes, tells neither."""
        usage: Json = await self._ask("GET", "tenants", tenant, "usage", query="?limit=1")
        return list(usage.get("budgets", []))

    async def models(self) -> list[Json]:
        return list((await self._ask("GET", "models"))["data"])

    async def keys(self, tenant: str, *, billing: bool) -> list[Json]:
        """Those that make requests, and with `billing` those that read bills; never one that administers."""
        roles = ("user", "billing") if billing else ("user",)
        listed = (await self._ask("GET", "keys"))["data"]
        return [key for key in listed if key["tenant"] == tenant and key["role"] in roles]

    async def make(self, tenant: str, name: str, form: Json) -> Json:
        """The key and its secret. The gateway's id has random letters, so that no name says what others have."""
        if len(await self.keys(tenant, billing=True)) >= MAX_KEYS:
            raise GatewayRefusedError(409, f"there are {MAX_KEYS} keys already; revoke one first")
        body = {**form, "tenant": tenant, "role": "user", "id": f"{name}-{secrets.token_hex(4)}"}
        made: Json = await self._ask("POST", "keys", body=body)
        return made

    async def rotate(self, tenant: str, key_id: str, overlap_s: int, *, billing: bool) -> Json:
        await self._own(tenant, key_id, billing)
        made: Json = await self._ask("POST", "keys", key_id, "rotate", body={"overlap_s": overlap_s})
        return made

    async def revoke(self, tenant: str, key_id: str, *, billing: bool) -> None:
        await self._own(tenant, key_id, billing)
        await self._ask("DELETE", "keys", key_id)

    async def _own(self, tenant: str, key_id: str, billing: bool) -> None:
        """Raises NotTheirsError. An id is never given twice, so what is theirs now stays theirs or is gone."""
        mine = await self.keys(tenant, billing=billing)
        if not _ID.fullmatch(key_id) or not any(key["id"] == key_id for key in mine):
            raise NotTheirsError("key", key_id)

    async def _ask(self, method: str, *words: str, body: Json | None = None, query: str = "") -> Any:
        secret = self._credential() if self.url else None
        if secret is None:
            raise GatewayRefusedError(503, "this console has no way to the gateway's keys")
        if self._client is None:
            limits = httpx.Limits(max_connections=16, max_keepalive_connections=4)
            self._client = httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False)
        path = "/".join(quote(word, safe="") for word in words) + query
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        content = None if body is None else msgspec.json.encode(body)
        try:
            said = await self._client.request(method, f"{self.url}/admin/{path}", headers=headers, content=content)
        except httpx.HTTPError as error:
            raise GatewayRefusedError(
                503, f"the gateway does not answer ({type(error).__name__}); try again"
            ) from error
        return _read(said)


def _read(said: httpx.Response) -> Any:
    try:
        answer = intake.read_json(said.content, MAX_BYTES)
    except intake.IntakeError as error:
        raise GatewayRefusedError(502, "the gateway's answer cannot be read") from error
    if said.status_code in (401, 403):
        raise GatewayRefusedError(503, "the gateway does not know this console's own key; start the platform again")
    if not said.is_success:
        why = answer.get("error", {}).get("message") if isinstance(answer, dict) else None
        raise GatewayRefusedError(said.status_code, str(why or f"the gateway answered {said.status_code}"))
    return answer
