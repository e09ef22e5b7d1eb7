"""The JSON protocol that cgminer's descendants speak on port 4028, and what its answers have in common.

A request is one object, `{"command": "summary+pools"}`; several commands joined by `+` come back as one object with a
list under each command's name. Source: cgminer's API README, and the makers' own documents.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tieline.edge.rigs.wire import RefusalError, SilentError, ask_json

PORT = 4028


async def command(address: str, port: int, name: str, parameter: str = "") -> dict[str, Any]:
    """One command's answer. Raises SilentError; RefusalError where its status says E or F."""
    body = {"command": name}
    if parameter:
        body["parameter"] = parameter
    answer = await ask_json(address, port, msgspec.json.encode(body))
    refusal = refused(answer)
    if refusal is not None:
        raise RefusalError(f"{name}: {refusal}")
    return answer


async def several(address: str, port: int, names: str, request: bytes | None = None) -> dict[str, dict[str, Any]]:
    """The answers to `a+b+c` by name; what a rig left out or refused is an empty object. `request` where a maker's
    dialect asks otherwise. Raises SilentError."""
    answer = await ask_json(address, port, request or msgspec.json.encode({"command": names}))
    wanted = names.split("+")
    if len(wanted) > 1 and not any(name in answer for name in wanted):
        raise SilentError(f"{address}:{port}: {refused(answer) or 'none of the answers asked for'}")
    answers: dict[str, dict[str, Any]] = {}
    for name in wanted:
        part = answer.get(name, answer if len(wanted) == 1 else None)
        first = part[0] if isinstance(part, list) and part else part
        answers[name] = first if isinstance(first, dict) and refused(first) is None else {}
    return answers


def refused(answer: dict[str, Any]) -> str | None:
    """The message of a status E or F, None where there is none."""
    status = answer.get("STATUS")
    if isinstance(status, list):
        status = status[0] if status else None
    if isinstance(status, dict):
        message, status = status.get("Msg"), status.get("STATUS")
    else:
        message = answer.get("Msg")
    if status in ("E", "F"):
        return str(message)[:120]
    return None


def row(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """The first object under `name`, an empty one where there is none of that shape."""
    rows = answer.get(name)
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        return rows[0]
    return rows if isinstance(rows, dict) else {}


def scaled(value: object, factor: float) -> object:
    """`value` times `factor` where it is a number, else as it is: the bounds will name it."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value * factor


def first_pool(answer: dict[str, Any]) -> tuple[object, object]:
    """URL and worker of the pool with the highest priority."""
    pool = row(answer, "POOLS")
    return pool.get("URL"), pool.get("User")
