"""Links that sign what is said to sites, and that let through only what is signed and new."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import msgspec

from tieline.intake import IntakeError, read
from tieline.link.listen import Ignored
from tieline.link.signing import CommandKey, NotSealedError, fence_of, opened
from tieline.link.transport import REQUEST_TIMEOUT_S, Handler, Link, LinkDownError
from tieline.store.files import write_private

log = logging.getLogger("tieline.link")

# What binds a site, and what it reckons with: weather and demand. The latter is soon old by itself, so that what was
# heard of it is not kept through a restart.
FEEDS: Final = "feeds."
BINDS: Final = ("plan.", "command.", "orders.get.", "config.get.", FEEDS)
# A question begins with so many bytes that nobody else knows, so that no other question's answer fits it.
NONCE_BYTES: Final = 16
MAX_FILE: Final = 1_000_000
# Beside the subjects: the highest number heard on any of them. No subject is spelt so.
TOP: Final = "*"
# Whose refusals are counted: those of a fleet's sites, and no more where somebody invents names.
MAX_SUBJECTS: Final = 10_000

Refused = Callable[[str, str], None]


class SigningLink:
    """The core's end: what binds a site goes out signed."""

    def __init__(self, link: Link, key: CommandKey) -> None:
        self._link, self._key = link, key

    @property
    def up(self) -> bool:
        return self._link.up

    @property
    def refused(self) -> bool:
        return self._link.refused

    async def request(self, subject: str, data: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        return await self._link.request(subject, data, timeout_s)

    async def serve(self, subject: str, handler: Handler) -> None:
        if not subject.startswith(BINDS):
            await self._link.serve(subject, handler)
            return

        async def answer(asked: str, question: bytes) -> bytes:
            return self._key.seal(asked, await handler(asked, question[NONCE_BYTES:]), question)

        await self._link.serve(subject, answer)

    async def publish(self, subject: str, data: bytes) -> None:
        await self._link.publish(subject, self._key.seal(subject, data) if subject.startswith(BINDS) else data)

    def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]:
        return self._link.follow(subject)

    async def close(self) -> None:
        await self._link.close()


class LastNumbers:
    """The highest number heard on each subject, in a file; without one, in memory only."""

    def __init__(self, path: Path | None = None, floor: int = 0) -> None:
        """`floor`: no number up to here was ever new to this site. Where the file cannot be read its floor holds, and
        it is said."""
        self._path, self._floor = path, floor
        self._last: dict[str, int] = {}
        if path is not None and path.exists():
            try:
                self._last = read(path.read_bytes()[:MAX_FILE], _read_numbers)
            except (OSError, IntakeError) as error:
                log.error("%s: %s; commands that were heard before may be taken again", path, error)

    def newer(self, subject: str, number: int) -> bool:
        """True where `number` is the highest on this subject so far and of no older leader than one that was heard on
        any; it is on disk before this returns, so that it is none after a restart. A disk that refuses stops no
        command."""
        if number <= self._last.get(subject, self._floor) or self.older_leaders(number):
            return False
        self._last[subject] = number
        self._last[TOP] = max(number, self._last.get(TOP, 0))
        if self._path is not None and not subject.startswith(FEEDS):
            try:
                write_private(self._path, msgspec.json.encode(self._last))
            except OSError as error:
                log.error("%s: %s; the command counts, a restart may take it again", self._path, error)
        return True

    def older_leaders(self, number: int) -> bool:
        """Whether a command of this number is another leader's than the newest that was heard, and before it: each
        leader's numbers are above all of those before it."""
        top = self._last.get(TOP, 0)
        return number < top and fence_of(number) != fence_of(top)


class CheckedLink:
    """A site's end, or a gateway's: of what binds, only what the platform's key signed and what is new is heard. The
    rest is logged, a subject's first and then now and then; `refused` is told the subject and one line for each."""

    def __init__(self, link: Link, public: bytes, numbers: LastNumbers, refused: Refused | None = None) -> None:
        self._link, self._public, self._numbers, self._on_refused = link, public, numbers, refused
        self._ignored: dict[str, Ignored] = {}

    @property
    def up(self) -> bool:
        return self._link.up

    @property
    def refused(self) -> bool:
        return self._link.refused

    async def request(self, subject: str, data: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """An answer that is not the platform's is none: LinkDownError."""
        if not subject.startswith(BINDS):
            return await self._link.request(subject, data, timeout_s)
        question = secrets.token_bytes(NONCE_BYTES) + data
        body = self._open(subject, await self._link.request(subject, question, timeout_s), question)
        if body is None:
            raise LinkDownError(f"the answer on {subject} is not the platform's")
        return body

    async def serve(self, subject: str, handler: Handler) -> None:
        await self._link.serve(subject, handler)

    async def publish(self, subject: str, data: bytes) -> None:
        await self._link.publish(subject, data)

    async def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]:
        async for said_on, data in self._link.follow(subject):
            body = self._open(said_on, data) if said_on.startswith(BINDS) else data
            if body is not None:
                yield said_on, body

    async def close(self) -> None:
        await self._link.close()

    def _refused(self, subject: str, why: str) -> None:
        if subject not in self._ignored and len(self._ignored) < MAX_SUBJECTS:
            self._ignored[subject] = Ignored(subject)
        if subject in self._ignored:
            self._ignored[subject].add(IntakeError(why))
        if self._on_refused is not None:
            self._on_refused(subject, why)

    def _open(self, subject: str, message: bytes, question: bytes = b"") -> bytes | None:
        try:
            sealed = opened(self._public, subject, message, question)
        except NotSealedError as error:
            self._refused(subject, str(error))
            return None
        if not self._numbers.newer(subject, sealed.number):
            older = self._numbers.older_leaders(sealed.number)
            why = "an older leader said it, and a newer one was heard" if older else "it was said before"
            self._refused(subject, f"its number {sealed.number} is not new: {why}")
            return None
        return sealed.body


_read_numbers = msgspec.json.Decoder(dict[str, int]).decode
