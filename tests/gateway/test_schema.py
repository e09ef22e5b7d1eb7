"""schemathesis against the gateway's own OpenAPI: what it generates, right and wrong, is answered as described.

Seeded, so that two runs are one. Chat, completions and responses reach a real llama.cpp engine with the self-test
model; embeddings and rerank, which it is not started for, a scripted engine. No answer may be a 5xx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks
from tests.gateway.able import Able
from tests.gateway.aside import gateway
from tests.gateway.engines import Llama
from tests.gateway.rig import Gateway, free_port

EXAMPLES = 15
SCRIPTED = ("/v1/embeddings", "/v1/rerank")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    engine = Llama(free_port())
    engine.start()
    with gateway(tmp_path_factory.mktemp("gateway"), engine.url, scripted=(Able(),), models=()) as g:
        yield g
    engine.stop()


def reach_an_engine(path: str, body: Any) -> Any:
    """A model that is served, and few tokens of it: names made up at random would all end in 404."""
    if not isinstance(body, dict) or "model" not in body or not path.startswith("/v1/"):
        return body
    model = "scripted" if path in SCRIPTED else "tieline-self-test"
    body = {**body, "model": model if isinstance(body["model"], str) else body["model"]}
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if isinstance(body.get(name), int) and body[name] > 4:
            body[name] = 4
    if isinstance(body.get("n"), int) and 2 < body["n"] <= 128:
        body["n"] = 2
    if path not in SCRIPTED:
        body.setdefault("max_output_tokens" if path == "/v1/responses" else "max_tokens", 4)
    return body


def test_every_operation_answers_as_described(door: Gateway) -> None:
    api = schemathesis.openapi.from_url(door.url.removesuffix("/v1") + "/openapi.json")
    api.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    session = requests.Session()
    seen: dict[str, set[int]] = {}
    for found in api.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @hypothesis.seed(1)
            @hypothesis.settings(
                max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )  # fmt: skip
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                case.body = reach_an_engine(case.path, case.body)
                answer = case.call(session=session, timeout=20)
                seen.setdefault(f"{case.method} {case.path}", set()).add(answer.status_code)
                # The schema says what the gateway judges; an engine may refuse more. Of forms schemathesis makes right
                # ones too when it is asked for wrong ones.
                excluded: list[Any] = [checks.positive_data_acceptance]
                if case.path == "/v1/files" or case.path.startswith("/v1/conversations"):
                    excluded.append(checks.negative_data_rejection)
                case.validate_response(answer, excluded_checks=excluded)
                if answer.status_code >= 400 and case.path.startswith("/v1/messages"):
                    assert answer.json()["type"] == "error"
                elif answer.status_code >= 400 and case.method != "HEAD":
                    assert set(answer.json()) == {"error"}
                    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
                assert "x-request-id" in answer.headers

            try:
                one()
            except hypothesis.errors.Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # what takes nothing cannot be given anything wrong
    assert len(seen) >= 15
    assert not {status for codes in seen.values() for status in codes if status >= 500}
    for path in ("chat/completions", "completions", "responses", "messages", "embeddings", "rerank", "conversations"):
        assert 200 in seen[f"POST /v1/{path}"], (path, seen)
