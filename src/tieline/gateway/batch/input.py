"""An input file of a batch: lines that are requests, or what is wrong with them. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from tieline.gateway.wire.decoding import json_reader

# OpenAI's bound on a batch. The bound on its bytes is that of an upload.
MAX_LINES: Final = 50_000
MAX_CUSTOM_ID: Final = 512
# Errors of a malformed file that its owner is told.
MAX_ERRORS: Final = 20


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_line = json_reader(_Line)


def read_lines(content: bytes, endpoint: str) -> tuple[list[tuple[str, bytes]], list[dict[str, object]]]:
    """(custom_id, body) of every line, or what is wrong with the file."""
    lines: list[tuple[str, bytes]] = []
    faults: list[dict[str, object]] = []
    seen: set[str] = set()

    def fault(code: str, message: str, number: int | None, param: str | None = None) -> None:
        faults.append({"code": code, "message": message, "line": number, "param": param})

    if not content:
        fault("file_not_found", "the input file is gone", None, "input_file_id")
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        if len(faults) >= MAX_ERRORS:
            break
        if len(lines) >= MAX_LINES:
            fault("too_many_lines", f"a batch takes {MAX_LINES} lines", number)
            break
        try:
            line = _line(text)
            bytes(line.body).decode()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            fault("invalid_json_line", f"not a request: {error}", number)
            continue
        if line.method != "POST":
            fault("invalid_method", "'method' must be POST", number, "method")
        elif line.url != endpoint:
            fault("mismatched_endpoint", f"'url' must be the batch's endpoint, {endpoint}", number, "url")
        elif not 1 <= len(line.custom_id) <= MAX_CUSTOM_ID:
            fault("invalid_custom_id", f"'custom_id' must have 1 to {MAX_CUSTOM_ID} characters", number, "custom_id")
        elif line.custom_id in seen:
            fault("duplicate_custom_id", f"'custom_id' {line.custom_id[:80]!r} stands twice", number, "custom_id")
        else:
            seen.add(line.custom_id)
            lines.append((line.custom_id, bytes(line.body)))
    if not lines and not faults:
        fault("empty_file", "the input file has no lines", None, "input_file_id")
    return lines, faults
