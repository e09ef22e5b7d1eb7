"""The gateway's own OpenAPI document: what it reads of a request and what it may answer.

Bodies are described as far as the gateway judges them; other fields travel to the engine as they are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tieline import __version__

_TEXT = {"type": "string"}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 10_000_000, "nullable": True}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


_ERRORS: dict[str, Any] = {
    "400": _error("The request is malformed"),
    "401": _error("No valid key"),
    "403": _error("The key may not do this"),
    "404": _error("No such model or path"),
    "408": _error("The request did not arrive in time"),
    "413": _error("The body is too large"),
    "415": _error("The body is encoded in a way that is not read"),
    "422": _error("The engine refuses the request's content"),
    "429": _error("A limit or a budget is reached, or too many wait"),
    "501": _error("No replica of the model offers this"),
    "502": _error("The engine failed"),
    "503": _error("No replica can take it now"),
    "504": _error("It took too long"),
}


def _post(summary: str, required: list[str], properties: dict[str, Any], stream: bool) -> dict[str, Any]:
    properties = {"model": _TEXT, **properties}
    if stream:
        properties["stream"] = {"type": "boolean", "nullable": True}
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if stream:
        content["text/event-stream"] = {"schema": _TEXT}
    return {
        "post": {
            "summary": summary,
            "security": [{"key": []}, {}],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "required": ["model", *required], "properties": properties}
                    }
                },
            },
            "responses": {"200": {"description": "The engine's answer", "content": content}, **_ERRORS},
        }
    }


def _get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object"} if kind == "application/json" else _TEXT
    found = {"description": summary, "content": {kind: {"schema": schema}}}
    refused = {code: _ERRORS[code] for code in ("400", "401", "403", "404", "503")}
    return {"get": {"summary": summary, "security": [{"key": []}, {}], "responses": {"200": found, **refused}}}


_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
            "content": {},
        },
    },
}
_TEXTS = {"oneOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]}
_CHOICES = {"type": "integer", "minimum": 1, "maximum": 128, "nullable": True}


def document() -> bytes:
    paths = {
        "/v1/chat/completions": _post(
            "Chat", ["messages"],
            {"messages": _MESSAGES, "max_tokens": _LIMIT, "max_completion_tokens": _LIMIT, "n": _CHOICES}, True,
        ),
        "/v1/completions": _post(
            "Complete a text", ["prompt"],
            {"prompt": _TEXTS, "max_tokens": _LIMIT, "n": _CHOICES}, True,
        ),
        "/v1/responses": _post("Responses", ["input"], {"input": {}, "max_output_tokens": _LIMIT}, True),
        "/v1/embeddings": _post(
            "Embed texts", ["input"],
            {"input": _TEXTS}, False,
        ),
        "/v1/rerank": _post(
            "Rank documents", ["query", "documents"],
            {"query": _TEXT, "documents": {"type": "array", "items": {}}}, False,
        ),
        "/v1/models": _get("Models this key may use"),
        "/healthz": _get("Is this process serving?"),
        "/metrics": _get("Prometheus metrics", "text/plain"),
        "/openapi.json": _get("This document"),
    }  # fmt: skip
    error = {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {
            "message": _TEXT,
            "type": _TEXT,
            "param": {"type": "string", "nullable": True},
            "code": {"type": "string", "nullable": True},
        },
    }
    return msgspec.json.encode(
        {
            "openapi": "3.0.3",
            "info": {"title": "Tieline gateway", "version": __version__},
            "paths": paths,
            "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
                "schemas": {"Error": {"type": "object", "required": ["error"], "properties": {"error": error}}},
            },
        }
    )
