"""OpenTelemetry traces of requests, hop by hop. Off unless `otel` is set, and then costless: see `Service.exchange`.

A request is one server span; each replica it visited is a client span below it, with how its part ended. A client's
`traceparent` is continued, and what engines are sent names this span as their parent. Spans are exported by the SDK's
own thread from a bounded queue; what does not fit is dropped, never waited for. No prompt or answer is in a span.
"""

from __future__ import annotations

import logging
import random
import re
from typing import TYPE_CHECKING, Any, Final

from tieline import __version__
from tieline.gateway.metering.usage import Meter
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.exchange import Exchange
from tieline.gateway.requests.resume import PATHS
from tieline.gateway.settings import OpenTelemetry, SettingsError

if TYPE_CHECKING:
    from tieline.gateway.service import Service

log = logging.getLogger("tieline.gateway")

# Spans that wait for the exporter: half a minute of a hundred requests a second with two hops.
MAX_WAITING: Final = 8_192
EVERY_MS: Final = 2_000
EXPORT_S: Final = 5
_PARENT: Final = re.compile(rb"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\r\n")


class Traces:
    """The way of spans out of one process."""

    def __init__(self, given: OpenTelemetry, source: str) -> None:
        """Raises SettingsError where the extra is not installed."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise SettingsError("otel needs the extra: pip install 'tieline[otel]'") from error
        self.api, self.share = trace, given.sample
        exporter = OTLPSpanExporter(endpoint=given.endpoint, timeout=EXPORT_S)
        self.provider = TracerProvider(
            resource=Resource.create({"service.name": given.service, "service.instance.id": source}),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=MAX_WAITING, schedule_delay_millis=EVERY_MS,
                export_timeout_millis=EXPORT_S * 1_000,
            )
        )  # fmt: skip
        self.tracer = self.provider.get_tracer("tieline.gateway", __version__)

    def wanted(self, parent: re.Match[bytes] | None) -> bool:
        """A caller that traces decides; else one of so many."""
        if parent is not None:
            return bool(int(parent[3], 16) & 1)
        return random.random() < self.share

    def begin(self, name: str, parent: re.Match[bytes] | None, at_ns: int, attributes: dict[str, Any]) -> Any:
        context = None
        if parent is not None:
            flags = self.api.TraceFlags(self.api.TraceFlags.SAMPLED)
            far = self.api.SpanContext(int(parent[1], 16), int(parent[2], 16), is_remote=True, trace_flags=flags)
            context = self.api.set_span_in_context(self.api.NonRecordingSpan(far))
        return self.tracer.start_span(
            name, context, kind=self.api.SpanKind.SERVER, start_time=at_ns, attributes=attributes
        )

    def hop(self, span: Any, start_ns: int, end_ns: int, attributes: dict[str, Any], failed: bool) -> None:
        below = self.tracer.start_span(
            "hop", self.api.set_span_in_context(span), kind=self.api.SpanKind.CLIENT, start_time=start_ns,
            attributes=attributes,
        )  # fmt: skip
        if failed:
            below.set_status(self.api.Status(self.api.StatusCode.ERROR, str(attributes["tieline.ended"])))
        below.end(end_ns)

    def end(self, span: Any, end_ns: int, attributes: dict[str, Any], failed: bool) -> None:
        span.set_attributes(attributes)
        if failed:
            span.set_status(self.api.Status(self.api.StatusCode.ERROR))
        span.end(end_ns)

    def header(self, span: Any) -> bytes:
        found = span.get_span_context()
        return b"traceparent: 00-%032x-%016x-01\r\n" % (found.trace_id, found.span_id)

    def close(self) -> None:
        """What waits goes out, within the exporter's own bound."""
        self.provider.shutdown()


_FAILED: Final = frozenset({"died", "stalled", "error"})


class TracedExchange(Exchange):
    """A request in progress whose hops are told."""

    _span: Any = None
    _zero_ns = 0

    def begin(self) -> None:
        traces = self.svc.traces
        assert traces is not None
        parent = _PARENT.fullmatch(self.trace)
        if parent is not None and (not int(parent[1], 16) or not int(parent[2], 16)):
            parent = None
        if traces.wanted(parent):
            self._zero_ns = int(self.svc.clock.now().timestamp() * 1e9) - int(self.now() * 1e9)
            key = self.account.key
            path = PATHS[self.request.kind]
            self._span = traces.begin(
                f"POST {path}",
                parent,
                self._ns(self.began),
                {
                    "http.request.method": "POST",
                    "http.route": path,
                    "gen_ai.request.model": self.request.model,
                    "tieline.request_id": self.id,
                    "tieline.tenant": key.tenant,
                    "tieline.project": key.project,
                    "tieline.key_id": key.id,
                    "tieline.stream": self.request.stream,
                },
            )
            self.trace = traces.header(self._span)
            self.meter = TracingMeter(self.svc.meter, traces)  # type: ignore[assignment]
        super().begin()

    def _ns(self, at: float) -> int:
        return self._zero_ns + int(at * 1e9)

    def record(self, leg: Leg, ended: str) -> None:
        super().record(leg, ended)
        traces, span = self.svc.traces, self._span
        if span is not None and traces is not None:
            hop = self.hops[-1]
            attributes = {
                "tieline.hop": len(self.hops),
                "tieline.replica": hop.replica_id,
                "tieline.site": hop.site_id,
                "tieline.ended": ended,
                "gen_ai.usage.output_tokens": hop.output_tokens,
            }
            if hop.first_token_ms is not None:
                attributes["tieline.first_token_ms"] = hop.first_token_ms
            traces.hop(span, self._ns(leg.started_at), self._ns(self.now()), attributes, ended in _FAILED)

    def told(self, traces: Traces) -> None:
        """It is over and billed."""
        span, self._span = self._span, None
        if span is None:
            return
        attributes: dict[str, Any] = {
            "http.response.status_code": self.status,
            "tieline.hops": len(self.hops),
            "tieline.finish": self.finish or "",
            "gen_ai.usage.input_tokens": self.prompt_tokens or 0,
            "gen_ai.usage.output_tokens": self.output_tokens or 0,
        }
        if self.first_token_at is not None:
            attributes["tieline.first_token_ms"] = round((self.first_token_at - self.began) * 1e3)
        traces.end(span, self._ns(self.now()), attributes, self.status >= 500)


class TracingMeter:
    """The meter, which also hears that a request is over."""

    def __init__(self, meter: Meter, traces: Traces) -> None:
        self._meter, self._traces = meter, traces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meter, name)

    def bill(self, ex: TracedExchange, *, wait: bool) -> bool:
        ex.told(self._traces)
        return self._meter.bill(ex, wait=wait)


def traced(svc: Service, given: OpenTelemetry, source: str) -> None:
    """Switch it on for one process. Raises SettingsError."""
    svc.traces = Traces(given, source)
    svc.exchange = TracedExchange
