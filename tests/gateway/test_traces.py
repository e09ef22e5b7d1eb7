"""Traces as a collector gets them: a stand-in that takes OTLP over HTTP and decodes its protobuf."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Faults, Scripted
from tests.gateway.rig import settings, start

from tieline.gateway.settings import OpenTelemetry

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
ASK = {"model": "m", "messages": [{"role": "user", "content": "a secret"}], "max_tokens": 20, "stream": True}


class Collector:
    """What a collector has been sent."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.service: dict[str, Any] = {}
        self.raw = b""

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.service = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    plain = {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}
                    self.spans.append(
                        {
                            "name": span.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(), "kind": span.kind, "status": span.status.code,
                            "start": span.start_time_unix_nano, "end": span.end_time_unix_nano, **plain,
                        }
                    )  # fmt: skip


@contextmanager
def collector() -> Iterator[tuple[str, Collector]]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", found
    finally:
        server.shutdown()
        server.server_close()


def test_a_request_that_moves_is_one_trace_with_a_hop_for_each_replica(tmp_path: Path) -> None:
    words = tuple(f"w{n} " for n in range(20))

    async def body(url: str) -> None:
        otel = OpenTelemetry(endpoint=url, service="door")
        async with Scripted(name="one", words=words) as first, Scripted(name="two", words=words) as second:
            first.faults = second.faults = Faults(die_after=5, times=1)
            async with start(settings(first.url, second.url, otel=otel), tmp_path) as gateway:
                status, _, text = await gateway.post(
                    "/v1/chat/completions", ASK, f"traceparent: 00-{CALLER}-00f067aa0ba902b7-01\r\n"
                )
                assert status == 200
                assert b"[DONE]" in text
                await gateway.quiet()

    with collector() as (url, found):
        asyncio.run(body(url))
    assert found.service["service.name"] == "door"
    (request,) = [span for span in found.spans if span["name"] == "POST /v1/chat/completions"]
    hops = sorted((span for span in found.spans if span["name"] == "hop"), key=lambda span: span["tieline.hop"])
    assert (request["trace"], request["parent"]) == (CALLER, "00f067aa0ba902b7")
    assert [hop["tieline.ended"] for hop in hops] == ["died", "stop"]
    assert len({hop["tieline.replica"] for hop in hops}) == 2
    assert {(hop["trace"], hop["parent"]) for hop in hops} == {(CALLER, request["id"])}
    assert request["tieline.hops"] == 2
    assert request["http.response.status_code"] == 200
    assert request["gen_ai.response.time_to_first_chunk"] >= 0
    assert (request["gen_ai.operation.name"], request["gen_ai.request.max_tokens"]) == ("chat", 20)
    assert [one.string_value for one in request["gen_ai.response.finish_reasons"].values] == ["stop"]
    # Every name of that family is one of OpenTelemetry's conventions.
    known = {name for name in vars(gen_ai_attributes).values() if isinstance(name, str)}
    assert {name for span in found.spans for name in span if name.startswith("gen_ai.")} <= known
    assert all(request["start"] <= hop["start"] <= hop["end"] <= request["end"] for hop in hops)
    assert hops[0]["status"] == 2
    assert b"a secret" not in found.raw


def test_engines_are_told_of_this_span_and_an_unsampled_caller_is_let_be(tmp_path: Path) -> None:
    async def body(url: str) -> None:
        otel = OpenTelemetry(endpoint=url)
        async with Scripted() as engine, start(settings(engine.url, otel=otel), tmp_path) as gateway:
            plain = ASK | {"stream": False}
            await gateway.post("/v1/chat/completions", plain, f"traceparent: 00-{CALLER}-00f067aa0ba902b7-00\r\n")
            assert f"00-{CALLER}-00f067aa0ba902b7-00" in str(engine.heads[-1])
            await gateway.post("/v1/chat/completions", plain, f"traceparent: 00-{'0' * 32}-00f067aa0ba902b7-01\r\n")
            await gateway.post("/v1/chat/completions", plain | {"model": "unknown"})
            await gateway.quiet()
            assert CALLER not in str(engine.heads[-1])
            assert "traceparent: 00-" in str(engine.heads[-1])

    with collector() as (url, found):
        asyncio.run(body(url))
    (request,) = [span for span in found.spans if span["name"] != "hop"]
    assert request["parent"] == ""


def test_a_collector_that_is_away_holds_nobody_up_and_none_is_asked_for_by_default(tmp_path: Path) -> None:
    async def body() -> None:
        otel = OpenTelemetry(endpoint="http://127.0.0.1:1/v1/traces")
        async with Scripted() as engine:
            async with start(settings(engine.url, otel=otel), tmp_path / "a") as gateway:
                for _ in range(5):
                    assert (await gateway.post("/v1/chat/completions", ASK | {"stream": False}))[0] == 200
            async with start(settings(engine.url), tmp_path / "b") as gateway:
                assert gateway.svc.shared.traces is None

    asyncio.run(asyncio.wait_for(body(), 30))
    with pytest.raises(ValueError, match="otel.endpoint"):
        OpenTelemetry(endpoint="collector:4318")
    with pytest.raises(ValueError, match="otel.sample"):
        OpenTelemetry(endpoint="http://c", sample=2.0)
