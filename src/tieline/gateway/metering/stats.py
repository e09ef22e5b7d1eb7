"""What the gateway counts, as plain integers; turned into Prometheus' text only when it is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Final, Protocol

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import generate_latest

from tieline.gateway.metering.refusals import OTHERS, DoorCounts
from tieline.gateway.routing.route import Replica
from tieline.records import Hop

# Seconds; from a small engine's first token on loopback to a long prompt's on a busy one.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

# From one token to the next, from a small model on a large card to a large one on a busy one.
GAP_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)

# Models, and pairs of tenant and model, with figures of their own; what comes beyond them is summed as OTHERS.
MAX_MODELS: Final = 1_000
MAX_SERIES: Final = 20_000
MAX_REGIONS: Final = 100


class Histograms:
    """Seconds, by model. `buckets`: their bounds."""

    __slots__ = ("_buckets", "_rows")

    def __init__(self, buckets: tuple[float, ...] = BUCKETS) -> None:
        self._buckets = buckets
        self._rows: dict[str, list[float]] = {}  # counts by bucket, then the sum

    def add(self, model: str, seconds: float) -> None:
        row = self._rows.get(model)
        if row is None:
            name = model if len(self._rows) < MAX_MODELS else OTHERS
            row = self._rows.setdefault(name, [0] * (len(self._buckets) + 2))
        row[bisect_left(self._buckets, seconds)] += 1
        row[-1] += seconds

    def family(self, name: str, text: str) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["model"])
        for model, (*counts, total) in self._rows.items():
            buckets, running = [], 0.0
            for bound, count in zip((*map(str, self._buckets), "+Inf"), counts, strict=True):
                running += count
                buckets.append((bound, running))
            family.add_metric([model], buckets, total)
        return family


class Gauges(Protocol):
    """What is so at this moment."""

    @property
    def exchanges(self) -> Sized: ...

    @property
    def queue(self) -> Sized: ...

    @property
    def spool(self) -> Sized: ...

    @property
    def kept_bytes(self) -> int: ...

    def budgets_left(self) -> Iterable[tuple[str, float]]: ...

    @property
    def backends(self) -> Mapping[str, Replica]: ...

    @property
    def apart(self) -> Sized:
        """Tenants that are served apart."""

    def coordinator_heard_s(self) -> float | None:
        """Since the coordinator was last heard; None: this process has none."""


class Stats:
    """Counters of one process. Labels are models, replicas and words of this code, never a client's text."""

    def __init__(self) -> None:
        # model, status -> requests, prompt and output tokens, nano-dollars
        self._sums: dict[tuple[str, int], list[int]] = {}
        self.refused: Counter[str] = Counter()  # code
        self.door = DoorCounts()
        self._refused_of: Counter[tuple[str, str]] = Counter()  # tenant, code
        self.failures: Counter[tuple[str, str]] = Counter()  # replica, how its attempt ended
        self.hops: Counter[str] = Counter()  # how hops ended
        self.resumed = 0
        self.hedged = 0
        self.connections = 0
        self.first_tokens = Histograms()
        self.totals = Histograms()
        self.gaps = Histograms(GAP_BUCKETS)  # from one token to the next, the mean of each request
        self._crossed: dict[str, list[int]] = {}  # region -> parts of requests, prompt and output tokens
        self._tenants: dict[tuple[str, str], list[int]] = {}  # tenant, model -> requests, tokens and nano-dollars
        self._waits: dict[tuple[str, str], list[float]] = {}  # the same -> requests, the sum of their mean gaps

    def count(self, model: str, status: int, prompt: int, output: int, cost_nano: int = 0) -> None:
        sums = self._sums.get((model, status))
        if sums is None:
            sums = self._sums[model, status] = [0, 0, 0, 0]
        sums[0] += 1
        sums[1] += prompt
        sums[2] += output
        sums[3] += cost_nano

    def refuse(self, code: str, tenant: str) -> None:
        """A request that was not taken; `tenant` empty: its key is nobody's."""
        self.refused[code] += 1
        self.door.add(tenant, code)
        name = (tenant, code)
        if name not in self._refused_of and len(self._refused_of) >= MAX_SERIES:
            name = (OTHERS, code)
        self._refused_of[name] += 1

    def count_tenant(self, tenant: str, model: str, prompt: int, output: int, cost_nano: int) -> None:
        sums = self._tenants.get((tenant, model))
        if sums is None:
            name = (tenant, model) if len(self._tenants) < MAX_SERIES else (OTHERS, model)
            sums = self._tenants.setdefault(name, [0, 0, 0, 0])
        sums[0] += 1
        sums[1] += prompt
        sums[2] += output
        sums[3] += cost_nano

    def count_crossed(self, here: str, hop: Hop, prompt: int) -> None:
        """A part of a request that another region's replica served; nothing where either region was not told."""
        if here and hop.region:
            room = hop.region in self._crossed or len(self._crossed) < MAX_REGIONS
            sums = self._crossed.setdefault(hop.region if room else OTHERS, [0, 0, 0])
            sums[0] += 1
            sums[1] += hop.prompt_tokens or prompt
            sums[2] += hop.output_tokens

    def crossed(self) -> Iterator[Metric]:
        """What went over the border of this gateway's own region, and to where."""
        parts = CounterMetricFamily(
            "tieline_gateway_crossed", "Parts of requests served in another region", labels=["region"]
        )
        tokens = CounterMetricFamily(
            "tieline_gateway_crossed_tokens", "Tokens that went to another region and came back from it",
            labels=["region", "kind"],
        )  # fmt: skip
        for region, (count, prompt, output) in self._crossed.items():
            parts.add_metric([region], count)
            tokens.add_metric([region, "prompt"], prompt)
            tokens.add_metric([region, "output"], output)
        yield from (parts, tokens)

    def count_gap(self, tenant: str, model: str, seconds: float) -> None:
        """The mean of a request's gaps between tokens."""
        sums = self._waits.get((tenant, model))
        if sums is None:
            name = (tenant, model) if len(self._waits) < MAX_SERIES else (OTHERS, model)
            sums = self._waits.setdefault(name, [0, 0.0])
        sums[0] += 1
        sums[1] += seconds

    def by_tenant(self, budgets: Iterable[tuple[str, float]]) -> Iterator[Metric]:
        """What only those may read who read everybody's usage."""
        requests = CounterMetricFamily(
            "tieline_gateway_tenant_requests", "Requests of a tenant", labels=["tenant", "model"]
        )
        tokens = CounterMetricFamily(
            "tieline_gateway_tenant_tokens", "Its billed tokens", labels=["tenant", "model", "kind"]
        )
        cost = CounterMetricFamily("tieline_gateway_tenant_cost_usd", "What they cost", labels=["tenant", "model"])
        for (tenant, model), (count, prompt, output, nano) in self._tenants.items():
            requests.add_metric([tenant, model], count)
            tokens.add_metric([tenant, model, "prompt"], prompt)
            tokens.add_metric([tenant, model, "output"], output)
            cost.add_metric([tenant, model], nano / 1e9)
        left = GaugeMetricFamily("tieline_gateway_budget_left_usd", "Left of a budget in its period", labels=["scope"])
        for scope, usd in budgets:
            left.add_metric([scope], usd)
        gaps = SummaryMetricFamily(
            "tieline_gateway_tenant_token_seconds",
            "From one token to the next, the mean of each request",
            labels=["tenant", "model"],
        )
        for (tenant, model), (waits, seconds) in self._waits.items():
            gaps.add_metric([tenant, model], round(waits), seconds)
        refused = CounterMetricFamily(
            "tieline_gateway_tenant_refused", "Requests of a tenant refused before an engine", labels=["tenant", "code"]
        )
        for (tenant, code), count in self._refused_of.items():
            refused.add_metric([tenant, code], count)
        yield from (requests, tokens, cost, refused, gaps, left)

    @property
    def requests(self) -> Counter[tuple[str, int]]:
        """Requests by model and status."""
        return Counter({key: sums[0] for key, sums in self._sums.items()})

    @property
    def tokens(self) -> Counter[tuple[str, str]]:
        """Billed tokens by model and kind."""
        tokens: Counter[tuple[str, str]] = Counter()
        for (model, _), (_, prompt, output, _) in self._sums.items():
            tokens[model, "prompt"] += prompt
            tokens[model, "output"] += output
        return tokens

    @property
    def costs(self) -> dict[str, float]:
        """USD by model."""
        costs: Counter[str] = Counter()
        for (model, _), (*_, nano) in self._sums.items():
            costs[model] += nano
        return {model: nano / 1e9 for model, nano in costs.items()}

    def text(self, gauges: Gauges, *, tenants: bool = False) -> bytes:
        """`tenants`: also what each of them used and has left."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self, gauges, tenants=tenants))
        return generate_latest(registry)


class _Collector:
    def __init__(self, stats: Stats, gauges: Gauges, *, tenants: bool) -> None:
        self.stats, self.gauges, self.tenants = stats, gauges, tenants

    def collect(self) -> Iterator[Metric]:
        stats, gauges = self.stats, self.gauges
        yield _counter("tieline_gateway_requests", "Requests by model and status", ("model", "status"), stats.requests)
        yield _counter("tieline_gateway_refused", "Requests refused before an engine", ("code",), stats.refused)
        yield _counter("tieline_gateway_tokens", "Billed tokens", ("model", "kind"), stats.tokens)
        yield _counter("tieline_gateway_cost_usd", "What requests cost", ("model",), stats.costs)
        yield _counter("tieline_gateway_leg_failures", "Attempts that failed", ("replica", "ended"), stats.failures)
        yield _counter("tieline_gateway_hops", "Hops by how they ended", ("ended",), stats.hops)
        yield _counter("tieline_gateway_resumed", "Streams that went on elsewhere", (), {(): stats.resumed})
        yield _counter("tieline_gateway_hedged", "First tokens asked of a second replica", (), {(): stats.hedged})
        yield stats.first_tokens.family("tieline_gateway_first_token_seconds", "Time to first token")
        yield stats.totals.family("tieline_gateway_request_seconds", "Whole requests")
        yield stats.gaps.family("tieline_gateway_token_seconds", "From one token to the next, the mean of each request")
        yield from stats.crossed()
        if self.tenants:
            yield from stats.by_tenant(gauges.budgets_left())
        yield GaugeMetricFamily("tieline_gateway_live_requests", "Requests now", value=len(gauges.exchanges))
        yield GaugeMetricFamily("tieline_gateway_waiting_requests", "Requests in the queue", value=len(gauges.queue))
        yield GaugeMetricFamily(
            "tieline_gateway_tenants_apart",
            "Tenants whose requests are mostly refused, served apart",
            value=len(gauges.apart),
        )
        yield GaugeMetricFamily("tieline_gateway_connections", "Client connections", value=stats.connections)
        yield GaugeMetricFamily(
            "tieline_gateway_kept_bytes", "Delivered text kept for resumes", value=gauges.kept_bytes
        )
        yield GaugeMetricFamily("tieline_gateway_outbox_rows", "Usage not yet acknowledged", value=len(gauges.spool))
        if (heard_s := gauges.coordinator_heard_s()) is not None:
            yield GaugeMetricFamily(
                "tieline_gateway_coordinator_heard_seconds",
                "Since the coordinator of budgets and changes last answered this process",
                value=heard_s,
            )
        load = GaugeMetricFamily("tieline_gateway_replica_live", "Requests on a replica", labels=["replica", "state"])
        for backend in gauges.backends.values():
            load.add_metric([backend.id, backend.state.value], len(backend.live))
        yield load
        term = GaugeMetricFamily(
            "tieline_gateway_replica_power_term_seconds", "What power adds to a replica's score", labels=["replica"]
        )
        for backend in gauges.backends.values():
            term.add_metric([backend.id], backend.power_term_s)
        yield term


def _counter(name: str, text: str, labels: tuple[str, ...], counts: object) -> Metric:
    family = CounterMetricFamily(name, text, labels=list(labels))
    assert isinstance(counts, dict)
    for key, count in counts.items():
        family.add_metric([str(one) for one in (key if isinstance(key, tuple) else (key,))], count)
    return family
