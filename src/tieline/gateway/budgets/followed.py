"""A gateway's end of the changes that all gateways share: hears each, makes its own, and starts from its disk.

A change is made where the coordinator takes it, in force there and on the store's disk, before it is in force here. A
gateway that cannot reach the coordinator changes nothing and goes on with what it heard last, from its disk after a
restart. One that was frozen or away finds another number when it is back, and takes what it missed.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway.budgets import ordered
from tieline.gateway.budgets.keys import Overlay
from tieline.gateway.budgets.ordered import FOR_EVER, MAX_PACKED, MAX_PATCH, InForce, NumberedChange, Parts, Patch
from tieline.gateway.settings import SettingsError
from tieline.store.files import write_private
from tieline.tasks import beat

log = logging.getLogger("tieline.gateway")

CHANGES_FILE: Final = "changes.zlib"
# Two administrators at one moment: the second makes its change again.
TRIES: Final = 8
AGAIN_S: Final = 0.5
LOOK_S, STILL_S = 5.0, 60.0

Call = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Asks the coordinator. Raises OSError, TimeoutError where it cannot be reached."""


class ChangeAwayError(OSError):
    """The change was not made, or it is not known; one line says which."""


class FollowedChanges:
    """Of one gateway."""

    def __init__(self, folder: Path, alone: Overlay) -> None:
        """`alone`: what was changed at this gateway before it had any to share with. Raises SettingsError where the
        file is there and cannot be read: a gateway that guessed might accept a key that was revoked."""
        self.path = folder / CHANGES_FILE
        self.state = InForce()
        try:
            self.state = ordered.unpack(self.path.read_bytes())
        except FileNotFoundError:
            self._mine: Parts = ordered.patched({}, ordered.patch_of({}, Overlay(), alone))
        except (OSError, SettingsError) as error:
            raise SettingsError(f"{self.path}: {error}; remove it if a coordinator can be reached") from error
        else:
            self._mine = {}
        self.overlay, self._lines = ordered.overlay_of(self.state.parts if self.state.number else self._mine)
        self._on_disk, self._adopted = self.state.number, self.overlay
        self._told: int | None = None  # the coordinator's newest
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self.call: Call | None = None
        self.adopt: Callable[[Overlay], Awaitable[None]] | None = None

    @property
    def number(self) -> int:
        return self.state.number

    # --- what the coordinator says ----------------------------------------------------------

    def joined(self, number: int | None) -> None:
        """Its newest; None: it is of a version that has none."""
        self._told = number
        if number is not None:
            self._news.set()

    def renewed(self, number: int | None) -> None:
        """The same, each second: a word that was lost is missed no longer than that."""
        if number is not None and number != self.number:
            self.joined(number)

    def changed(self, change: NumberedChange, base: int) -> None:
        """Somebody made a change."""
        self._told = change.number
        if base == self.number:
            self._take(InForce(change.number, ordered.patched(self.state.parts, change.patch)))
        self._news.set()

    def _take(self, state: InForce) -> None:
        self.state = state
        self.overlay, lines = ordered.overlay_of(state.parts)
        for line in set(lines) - set(self._lines):
            log.error("change %d: %s", state.number, line)
        self._lines = lines

    # --- what this gateway does -------------------------------------------------------------

    async def follow(self) -> None:
        """For ever: what is new is taken over, then put on disk."""
        while True:
            beat(STILL_S)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                continue
            self._news.clear()
            try:
                async with self._turn:
                    await self._catch_up()
                    await self._in_force()
            except (OSError, SettingsError) as error:
                log.info("changes made at other gateways cannot be asked for: %s", error)
                async with self._turn:
                    await self._in_force()
                await asyncio.sleep(AGAIN_S)
                self._news.set()
            if self._on_disk != self.number:
                number, packed = self.number, ordered.pack(self.state)
                await asyncio.to_thread(write_private, self.path, packed)
                self._on_disk = number

    async def _in_force(self) -> None:
        """Take over what was heard, once. In turn with proposals: shares of budgets are joined for anew, over another
        connection."""
        if self.overlay is not self._adopted and self.adopt is not None:
            self._adopted = self.overlay
            await self.adopt(self.overlay)

    async def update(self, change: Callable[[Overlay], Overlay]) -> Overlay:
        """Make a change. `change` is given what is in force, again where another was first. Raises ChangeAwayError, and
        what `change` raises."""
        async with self._turn:
            for _ in range(TRIES):
                try:
                    await self._catch_up()
                except (OSError, SettingsError) as error:
                    raise ChangeAwayError(
                        f"the coordinator cannot be reached: nothing was changed ({error})"
                    ) from error
                before, state = self.overlay, self.state  # another's may be heard while this one is looked at
                after = await asyncio.to_thread(change, before)
                patch = ordered.patch_of(state.parts, before, after)
                if not patch or await self._proposed(patch, state.number):
                    await self._in_force()
                    return self.overlay
        raise ChangeAwayError("others change keys and tenants at this moment: nothing was changed")

    async def _catch_up(self) -> None:
        """Have the newest. Raises OSError, SettingsError."""
        if self._told is None:
            raise ChangeAwayError("no coordinator that keeps changes was reached yet")
        if self._told == self.number and not self._mine:
            return
        mine, high = self.state, self.number
        if self._told != high or not high:
            theirs = await self._all()
            lost = ordered.lacking(mine.parts, theirs.parts, FOR_EVER)
            if theirs.number < high:  # its store is older than this gateway's disk: nothing of ours is in it
                lost = ordered.lacking(mine.parts, theirs.parts, tuple(mine.parts))
            self._take(theirs)
            await self._offer(lost, high, "the store had lost them")
        if self._mine:
            await self._offer(ordered.lacking(self._mine, self.state.parts, tuple(self._mine)), 0, "made here alone")
            self._mine = {}

    async def _offer(self, patch: Patch, above: int, why: str) -> None:
        """What this gateway knows and the store does not."""
        for piece in ordered.pieces(patch):
            log.warning("changes of %s are offered to all gateways: %s", ", ".join(piece), why)
            if not await self._proposed(piece, self.number, above):
                raise ChangeAwayError("others change keys and tenants at this moment")

    async def _all(self) -> InForce:
        body, number = b"", -1
        while True:
            answer = await self._asked({"do": "changes", "offset": len(body)})
            if answer["number"] != number and body:
                body = b""
                number = -1
                continue
            number = answer["number"]
            body += base64.b64decode(answer["body"])
            if len(body) >= min(answer["size"], MAX_PACKED):
                self._told = number
                return ordered.unpack(body)

    async def _proposed(self, patch: Patch, base: int, above: int = 0) -> bool:
        """False: another was first. Raises ChangeAwayError."""
        if len(msgspec.json.encode(patch)) > MAX_PATCH:
            raise ChangeAwayError(f"a change has at most {MAX_PATCH:,} bytes: nothing was changed")
        try:
            answer = await self._asked({"do": "change", "base": base, "above": above, "patch": patch})
        except (OSError, TimeoutError) as error:
            raise ChangeAwayError("the coordinator did not answer: look whether the change was made") from error
        if answer.get("error"):
            raise ChangeAwayError(f"the coordinator could not write it down: nothing was changed ({answer['error']})")
        number = answer.get("number")
        if number is None:
            self._told = int(answer["newest"])
            return False
        if self.number == base:  # it is told to all before it is answered, but not to one who joined meanwhile
            self._take(InForce(number, ordered.patched(self.state.parts, patch)))
        self._told = max(number, self._told or 0)
        self._news.set()
        return True

    async def _asked(self, message: dict[str, Any]) -> dict[str, Any]:
        if self.call is None:
            raise ChangeAwayError("there is no coordinator")
        return await self.call(message)
