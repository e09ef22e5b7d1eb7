"""Forms in, answers out: JSON both ways, bounded, each mistake named."""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tieline import intake

F = TypeVar("F")

# The largest thing a page sends is a conversation (`chat.MAX_CHARS`), in UTF-8 and escaped.
MAX_BODY: Final = 128 * 1024
BODY_S: Final = 60.0


class CommandForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`by`: who commands, where nobody has to sign in."""

    by: str = ""


class ReasonedForm(CommandForm, frozen=True, kw_only=True):
    """`why`: for whoever reads it tomorrow."""

    why: str


async def read_form(request: Request, type_: type[F]) -> F:
    """What a page sent, as `type_`. Raises intake.IntakeError (a ValueError)."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise intake.IntakeError(f"larger than {MAX_BODY // 1024} KiB", "body")
    except ClientDisconnect:
        pass
    except TimeoutError as error:
        raise intake.IntakeError("did not arrive in time", "body") from error
    decode = msgspec.json.Decoder(type_).decode
    return intake.read(body or b"{}", decode, MAX_BODY)


def answer(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")


def failed(status: int, why: str) -> Response:
    return answer({"error": why}, status)
