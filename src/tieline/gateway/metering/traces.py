"""OpenTelemetry traces of requests, hop by hop. Off unless `otel` is set: requests have no span then.

A request is one server span; each replica it visited is a client span below it, with how its part ended. A client's
`traceparent` is continued, and what engines are sent names this span as their parent. Spans are exported by the SDK's
own thread from a bounded queue; what does not fit is dropped, never waited for. No prompt or answer is in a span.
"""

from __future__ import annotations

import logging
import random
import re
from datetime import datetime
from typing import Any, Final

from tieline import __version__
from tieline.gateway.metering.usage_lines import ENDPOINTS, Metered, tokens_of
from tieline.gateway.settings import OpenTelemetry, SettingsError
from tieline.records import Hop

log = logging.getLogger("tieline.gateway")

# Spans that wait for the exporter: half a minute of a hundred requests a second with two hops.
MAX_WAITING: Final = 8_192
EVERY_MS: Final = 2_000
EXPORT_S: Final = 5
# As OpenTelemetry's conventions for generative AI call them; ranking has no word there.
OPERATIONS: Final = {"completions": "text_completion", "embeddings": "embeddings", "rerank": "rerank"}
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

    def request(self, request: Metered, trace: bytes, wall: datetime, now: float) -> Span | None:
        """The span of a request that begins; None: it is not traced. `trace`: the caller's header line."""
        parent = _PARENT.fullmatch(trace)
        if parent is not None and (not int(parent[1], 16) or not int(parent[2], 16)):
            parent = None
        if not self.wanted(parent):
            return None
        zero_ns = int(wall.timestamp() * 1e9) - int(now * 1e9)
        key, path = request.account.key, ENDPOINTS[request.request.surface]
        attributes = {
            "http.request.method": "POST",
            "http.route": path,
            "gen_ai.operation.name": OPERATIONS.get(request.request.surface, "chat"),
            "gen_ai.provider.name": "tieline",
            "gen_ai.request.model": request.offer.name,
            "gen_ai.request.stream": request.request.stream,
            "tieline.request_id": request.id,
            "tieline.tenant": key.tenant,
            "tieline.project": key.project,
            "tieline.key_id": key.id,
        }
        if request.request.answers > 1:
            attributes["gen_ai.request.choice.count"] = request.request.answers
        return Span(self, self.begin(f"POST {path}", parent, zero_ns + int(request.began * 1e9), attributes), zero_ns)

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
        context = span.get_span_context()
        return b"traceparent: 00-%032x-%016x-01\r\n" % (context.trace_id, context.span_id)

    def close(self) -> None:
        """What waits goes out, within the exporter's own bound."""
        self.provider.shutdown()


_FAILED: Final = frozenset({"died", "stalled", "error"})


class Span:
    """A request that is traced."""

    def __init__(self, traces: Traces, span: Any, zero_ns: int) -> None:
        self._traces, self._span, self._zero_ns = traces, span, zero_ns
        self.header = traces.header(span)

    def _ns(self, at: float) -> int:
        return self._zero_ns + int(at * 1e9)

    def hop(self, hop: Hop, number: int, began: float, now: float) -> None:
        """A hop that has ended."""
        attributes = {
            "tieline.hop": number,
            "tieline.replica": hop.replica_id,
            "tieline.site": hop.site_id,
            "tieline.ended": hop.ended,
            "gen_ai.usage.output_tokens": hop.output_tokens,
        }
        if hop.first_token_ms is not None:
            attributes["tieline.first_token_ms"] = hop.first_token_ms
        self._traces.hop(self._span, self._ns(began), self._ns(now), attributes, hop.ended in _FAILED)

    def end(self, request: Metered, now: float) -> None:
        """It is over and billed; said once."""
        span, self._span = self._span, None
        if span is None:
            return
        attributes: dict[str, Any] = {
            "http.response.status_code": request.status,
            "tieline.hops": len(request.hops),
            "tieline.finish": request.finish or "",
            "tieline.cost_usd": request.cost_nano / 1e9,
            "gen_ai.response.id": request.id,
            "gen_ai.response.model": request.offer.name,
            "gen_ai.usage.input_tokens": tokens_of(request)[0],
            "gen_ai.usage.output_tokens": tokens_of(request)[1],
        }
        if request.request.limit:
            attributes["gen_ai.request.max_tokens"] = request.request.limit
        if request.cached_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = request.cached_tokens
        if request.reasoning_tokens:
            attributes["gen_ai.usage.reasoning.output_tokens"] = request.reasoning_tokens
        if request.first_token_at is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = request.first_token_at - request.began
        if request.status == 200:
            attributes["gen_ai.response.finish_reasons"] = [request.finish or "stop"]
        else:
            attributes["error.type"] = str(request.status)
        self._traces.end(span, self._ns(now), attributes, request.status >= 500)
