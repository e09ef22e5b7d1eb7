"""How a gateway finds the coordinator that leads, among the addresses where one may.

All are dialled at once, again and again: only the one that leads listens and greets, and one that is frozen, or whose
machine is, takes a connection and says nothing for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from tieline.gateway.budgets.coordinator import MAX_LINE, decode
from tieline.gateway.budgets.remote import Remote
from tieline.tasks import end

# One that leads greets at once; after this long whoever asks looks whether its lease is over, and dials all anew.
GREET_S: Final = 2.0
# An address that refused is dialled again so soon.
AGAIN_S: Final = 0.1


class Greeting(NamedTuple):
    """A connection to it, and the number that the proof of the secret must name."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    nonce: str


async def first_greeting(places: Sequence[Remote]) -> Greeting:
    """Of whichever greets first. Raises OSError where none does within GREET_S, with what each of them said."""
    said = dict.fromkeys(places, "says nothing")
    dialling = {asyncio.create_task(_greeted(place, said)) for place in places}
    won: Greeting | None = None
    try:
        done, _ = await asyncio.wait(dialling, timeout=GREET_S, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise ConnectionError("; ".join(f"{place.host}:{place.port} {why}" for place, why in said.items()))
        won = next(iter(done)).result()
        return won
    finally:
        await end(dialling)
        for task in dialling:
            if not task.cancelled() and task.exception() is None and task.result() is not won:
                task.result().writer.close()


async def _greeted(place: Remote, said: dict[Remote, str]) -> Greeting:
    while True:
        try:
            return await _dialled(place)
        except (OSError, EOFError, msgspec.DecodeError, KeyError) as error:
            said[place] = repr(error)
        await asyncio.sleep(AGAIN_S)


async def _dialled(place: Remote) -> Greeting:
    reader, writer = await asyncio.open_connection(place.host, place.port, ssl=place.tls, limit=MAX_LINE)
    try:
        return Greeting(reader, writer, str(decode(await reader.readline())["hello"]))
    except BaseException:
        writer.close()
        raise
