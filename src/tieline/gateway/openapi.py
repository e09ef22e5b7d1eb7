"""The gateway's own OpenAPI document: what it reads of a request and what it may answer.

Bodies are described as far as the gateway judges them; other fields travel to the engine as they are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tieline import __version__
from tieline.gateway.batch.batches import ENDPOINTS as BATCH_ENDPOINTS
from tieline.gateway.metering.history import MAX_PAGE
from tieline.gateway.surfaces.conversations import MAX_PAGE as MAX_ITEMS

_TEXT = {"type": "string"}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 10_000_000, "nullable": True}
_INPUT: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}


def _error(text: str, schema: str = "Error") -> dict[str, Any]:
    ref = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": text, "content": {"application/json": {"schema": ref}}}


_ERRORS: dict[str, Any] = {
    "400": _error("The request is malformed"),
    "401": _error("No valid key"),
    "403": _error("The key may not do this"),
    "404": _error("No such model or path"),
    "408": _error("The request did not arrive in time"),
    "409": _error("It conflicts with what was asked before"),
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
        content["text/event-stream"] = {"schema": {}}  # events; each one's data is a chunk of the answer
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


def _media() -> dict[str, Any]:
    """Sound and pictures: JSON, or a form with files where one is sent."""
    file = {"type": "string", "format": "binary"}
    prompt = {"prompt": {"type": "string", "minLength": 1, "maxLength": 32_000}}
    count = {"n": {"type": "integer", "nullable": True, "minimum": 1, "maximum": 10}}
    text = {"input": {"type": "string", "minLength": 1, "maxLength": 4_096}}
    forms: dict[str, tuple[str, list[str], dict[str, Any]]] = {
        "/v1/audio/transcriptions": ("Write down a recording", ["file"], {"file": file}),
        "/v1/audio/translations": ("Write down a recording in English", ["file"], {"file": file}),
        "/v1/images/edits": ("Change a picture", ["image", "prompt"], {"image": file, "mask": file, **prompt, **count}),
        "/v1/images/variations": ("Pictures like one", ["image"], {"image": file, **count}),
    }
    paths = {
        "/v1/audio/speech": _post("Speak a text", ["input"], text, False),
        "/v1/images/generations": _post("Pictures of a text", ["prompt"], {**prompt, **count}, False),
    }
    for path, (summary, required, properties) in forms.items():
        paths[path] = call = _post(summary, required, properties, False)
        content = call["post"]["requestBody"]["content"]
        content["multipart/form-data"] = content.pop("application/json")
    for path, call in paths.items():
        if path.startswith("/v1/audio/"):  # a voice, or text in one of several forms
            call["post"]["responses"]["200"]["content"]["*/*"] = {"schema": {}}
    return paths


def _get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object"} if kind == "application/json" else _TEXT
    success = {"description": summary, "content": {kind: {"schema": schema}}}
    refused = {code: _ERRORS[code] for code in ("400", "401", "403", "404", "503")}
    return {"get": {"summary": summary, "security": [{"key": []}, {}], "responses": {"200": success, **refused}}}


_PART = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"type": "string", "enum": ["text", "image_url", "input_audio", "file"]}, "text": _TEXT},
}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": _TEXT,  # which ones there are is for the model's template to say
            "content": {"anyOf": [{"type": "string", "nullable": True}, {"type": "array", "items": _PART}]},
        },
    },
}
_IDS = {"type": "array", "items": {"type": "integer"}}
_TEXTS = {
    "anyOf": [_TEXT, *({"type": "array", "minItems": 1, "items": one} for one in (_TEXT, {"type": "integer"}, _IDS))]
}
_CHOICES = {"type": "integer", "minimum": 1, "maximum": 128, "nullable": True}


_ID = {"type": "string", "pattern": "^((file|batch)[-_][0-9a-z_]{1,64})?$"}
_NUMBER = {"type": "integer"}
_NULL_TEXT = {"type": "string", "nullable": True}
_NULL_NUMBER = {"type": "integer", "nullable": True}
_FILE = {
    "type": "object",
    "required": ["id", "object", "bytes", "created_at", "filename", "purpose"],
    "properties": {
        "id": _TEXT, "object": _TEXT, "bytes": _NUMBER, "created_at": _NUMBER, "expires_at": _NUMBER,
        "filename": _TEXT, "purpose": _TEXT, "status": _TEXT,
    },
}  # fmt: skip
_BATCH = {
    "type": "object",
    "required": ["id", "object", "endpoint", "input_file_id", "completion_window", "status", "created_at"],
    "properties": {
        "id": _TEXT, "object": _TEXT, "endpoint": _TEXT, "input_file_id": _TEXT, "completion_window": _TEXT,
        "status": {
            "type": "string",
            "enum": [
                "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled",
            ],
        },
        "output_file_id": _NULL_TEXT, "error_file_id": _NULL_TEXT, "created_at": _NUMBER, "expires_at": _NUMBER,
        "completed_at": _NULL_NUMBER,
        "request_counts": {
            "type": "object", "properties": {"total": _NUMBER, "completed": _NUMBER, "failed": _NUMBER},
        },
    },
}  # fmt: skip


def _call(summary: str, schema: dict[str, Any], *refused: str, **more: Any) -> dict[str, Any]:
    """An operation of files or batches."""
    success = {"description": summary, "content": {"application/json": {"schema": schema}}}
    codes = ("400", "401", "403", "408", "413", "415", "503", *refused)
    responses = {"200": success, **{code: _ERRORS[code] for code in codes}}
    return {"summary": summary, "security": [{"key": []}, {}], "responses": responses} | more


def _page(summary: str, schema: dict[str, Any], most: int, *names: str) -> dict[str, Any]:
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": most}}
    after = {"name": "after", "in": "query", "schema": _ID}
    others = [{"name": name, "in": "query", "schema": _TEXT} for name in names]
    listed = {
        "type": "object",
        "required": ["object", "data", "has_more"],
        "properties": {
            "object": _TEXT, "data": {"type": "array", "items": schema}, "has_more": {"type": "boolean"},
            "first_id": _NULL_TEXT, "last_id": _NULL_TEXT,
        },
    }  # fmt: skip
    return _call(summary, listed, parameters=[limit, after, *others])


def _offline() -> dict[str, Any]:
    file_id = {"name": "file_id", "in": "path", "required": True, "schema": _TEXT}
    batch_id = {"name": "batch_id", "in": "path", "required": True, "schema": _TEXT}
    upload = {
        "type": "object",
        "required": ["purpose", "file"],
        "properties": {
            "purpose": {"type": "string", "enum": ["batch"]},
            "file": {"type": "string", "format": "binary", "minLength": 1},
        },
    }
    wanted = {
        "type": "object",
        "required": ["input_file_id", "endpoint", "completion_window"],
        "properties": {
            "input_file_id": _TEXT,
            "endpoint": {"type": "string", "enum": list(BATCH_ENDPOINTS)},
            "completion_window": {"type": "string", "pattern": "^([1-9]|1[0-9]|2[0-4])h$"},
            "metadata": {
                "type": "object", "maxProperties": 16, "nullable": True,
                "additionalProperties": {"type": "string", "maxLength": 512},
            },
        },
    }  # fmt: skip
    content = _call("A file's content", _TEXT, "404", parameters=[file_id])
    content["responses"]["200"]["content"] = {"application/octet-stream": {"schema": {"format": "binary", **_TEXT}}}
    form = {"required": True, "content": {"multipart/form-data": {"schema": upload}}}
    body = {"required": True, "content": {"application/json": {"schema": wanted}}}
    return {
        "/v1/files": {
            "post": _call("Upload a batch's requests, one JSON object a line", _FILE, "429", requestBody=form),
            "get": _page("Files of this project", _FILE, 10_000, "purpose", "order"),
        },
        "/v1/files/{file_id}": {
            "get": _call("A file", _FILE, "404", parameters=[file_id]),
            "delete": _call("Delete a file", {"type": "object"}, "404", parameters=[file_id]),
        },
        "/v1/files/{file_id}/content": {"get": content},
        "/v1/batches": {
            "post": _call("Run a file of requests in a window, at half the tariff", _BATCH, "429", requestBody=body),
            "get": _page("Batches of this project", _BATCH, 100),
        },
        "/v1/batches/{batch_id}": {"get": _call("A batch", _BATCH, "404", parameters=[batch_id])},
        "/v1/batches/{batch_id}/cancel": {
            "post": _call("End a batch early", _BATCH, "404", "409", parameters=[batch_id])
        },
    }


def _own() -> dict[str, Any]:
    """What a key reads of itself."""
    usage = _get("What this key's project used, or its tenant for 'billing' and 'admin', by key and model")
    usage["get"]["responses"]["200"]["content"]["text/csv"] = {"schema": _TEXT}
    usage["get"]["parameters"] = [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}},
        {"name": "format", "in": "query", "schema": {"type": "string", "enum": ["json", "csv"]}},
        *({"name": name, "in": "query", "schema": _TEXT} for name in ("since", "until", "after")),
    ]
    return {
        "/v1/usage": usage,
        "/v1/limits": _get("Limits of this key, its project and its tenant, and what is left of them"),
        "/v1/prices": _get("What models cost now, and what is known of later"),
    }


def _anthropic(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation whose errors are in Anthropic's form."""
    answers = operation["post"]["responses"]
    errors = {code: _error(answers[code]["description"], "MessageError") for code in answers if code in _ERRORS}
    return {"post": operation["post"] | {"responses": answers | errors}}


def _kept() -> dict[str, Any]:
    """Messages, and what is kept of responses and conversations."""
    blocks = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object", "required": ["type"]}}]}
    turn = {
        "type": "object", "required": ["role", "content"],
        "properties": {"role": {"type": "string", "enum": ["user", "assistant"]}, "content": blocks},
    }  # fmt: skip
    turns = {"type": "array", "minItems": 1, "items": turn}
    limit = {"type": "integer", "minimum": 1, "maximum": 10_000_000}
    count = _post(
        "Tokens of a message's prompt", ["messages"], {"messages": turns, "system": {**blocks, "nullable": True}}, False
    )
    items = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object"}}}}
    body = {"required": False, "content": {"application/json": {"schema": items}}}
    at = {
        name: {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in ("response_id", "conversation_id", "item_id")
    }
    plain = {"type": "object"}

    def listed(summary: str, of: str) -> dict[str, Any]:
        page = _page(summary, plain, MAX_ITEMS, "order")
        page["parameters"] = [at[of], *page["parameters"]]
        page["responses"]["404"] = _ERRORS["404"]
        return page

    one = [at["conversation_id"]]
    return {
        "/v1/messages": _anthropic(
            _post(
                "Messages, in Anthropic's form", ["messages", "max_tokens"],
                {"messages": turns, "max_tokens": limit, "system": {**blocks, "nullable": True}}, True,
            )
        ),
        "/v1/messages/count_tokens": _anthropic(count),
        "/v1/responses/{response_id}": {
            "get": _call("A response that is kept", plain, "404", parameters=[at["response_id"]]),
            "delete": _call("Delete a response", plain, "404", parameters=[at["response_id"]]),
        },
        "/v1/responses/{response_id}/input_items": {"get": listed("What a response was asked with", "response_id")},
        "/v1/conversations": {"post": _call("Begin a conversation", plain, requestBody=body)},
        "/v1/conversations/{conversation_id}": {
            "get": _call("A conversation", plain, "404", parameters=one),
            "post": _call("Change a conversation's metadata", plain, "404", parameters=one, requestBody=body),
            "delete": _call("Delete a conversation", plain, "404", parameters=one),
        },
        "/v1/conversations/{conversation_id}/items": {
            "get": listed("A conversation's items", "conversation_id"),
            "post": _call("Add items to a conversation", plain, "404", parameters=one, requestBody=body),
        },
        "/v1/conversations/{conversation_id}/items/{item_id}": {
            "get": _call("An item", plain, "404", parameters=[*one, at["item_id"]]),
            "delete": _call("Take an item out of a conversation", plain, "404", parameters=[*one, at["item_id"]]),
        },
    }  # fmt: skip


def _schemas() -> dict[str, Any]:
    error = {
        "type": "object", "required": ["message", "type", "param", "code"],
        "properties": {"message": _TEXT, "type": _TEXT, "param": _NULL_TEXT, "code": _NULL_TEXT},
    }  # fmt: skip
    message = {
        "type": "object", "required": ["type", "message"],
        "properties": {"type": _TEXT, "message": _TEXT, "details": {"type": "object"}},
    }  # fmt: skip
    kind = {"type": "string", "enum": ["error"]}
    return {
        "Error": {"type": "object", "required": ["error"], "properties": {"error": error}},
        "MessageError": {
            "type": "object", "required": ["type", "error"], "properties": {"type": kind, "error": message},
        },
    }  # fmt: skip


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
        "/v1/responses": _post("Responses", ["input"], {"input": _INPUT, "max_output_tokens": _LIMIT}, True),
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
        "/health": _get("The same, by the name that engines have for it."),
        "/readyz": _get("The same, with 503 also while no replica is ready."),
        "/readyz/region": _get("The same, with 503 also while no replica of the gateway's own region is ready."),
        "/metrics": _get("Prometheus metrics", "text/plain"),
        "/openapi.json": _get("This document"),
        **_media(),
        **_own(),
        **_kept(),
        **_offline(),
    }  # fmt: skip
    return msgspec.json.encode(
        {
            "openapi": "3.0.3",
            "info": {"title": "Tieline gateway", "version": __version__},
            "paths": paths,
            "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
        }
    )
