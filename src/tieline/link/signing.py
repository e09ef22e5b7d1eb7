"""Commands to sites, signed with a key that each site pinned when it joined, and numbered.

A sealed message is one line, `tieline-1 NUMBER SIGNATURE`, and the body. Signed (Ed25519) are the subject, the number,
the question that it answers, and the body: what was said to one site, on one subject or to one question is nothing
anywhere else. Numbers only grow, across restarts and clocks that are set back: they are microseconds of the wall clock
where that is ahead of what was used, and a mark on disk is kept ahead of both.

Where several cores may lead, a number is a count (milliseconds in the same way) and behind it, in its last six digits,
the leader's fencing number. The mark is then the store's: who leads next begins above whatever the one before it may
have used, so that an older leader's numbers are lower than all of a newer one's, whatever their clocks say.
"""

from __future__ import annotations

import fcntl
import re
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tieline.clock import micros, wall_now
from tieline.store.files import private_folder, write_private

FORM: Final = "tieline-1"
KEY_BYTES: Final = 32
PUBLIC_FILE: Final = "command.pub"
# The mark on disk is ahead by this many numbers, a minute of the wall clock: it is written once a minute at most.
AHEAD: Final = 60_000_000
# Of a number with a leader's in it: how many fencing numbers there are before they begin again, and the least such one.
FENCES: Final = 1_000_000
WITH_FENCE: Final = 10**17
# The store's mark is ahead by so many, a minute in milliseconds.
COUNTS_AHEAD: Final = 60_000
_HEAD: Final = re.compile(rb"tieline-1 ([0-9]{1,19}) ([0-9a-f]{128})\n")


class KeyFileError(ValueError):
    """The platform's key or its mark cannot be read; one line says what to do."""


class NotSealedError(ValueError):
    """What came is not a command of the platform's; one line says why."""


class Sealed(NamedTuple):
    """A message as it came; nothing of it is checked yet."""

    number: int
    signature: bytes
    body: bytes


class Leads(Protocol):
    """A leader, as whoever signs for it sees it. What it does not do for a leader that leads no more it says by
    raising."""

    mark: int

    @property
    def number(self) -> int: ...

    def check(self) -> None: ...

    def reserve(self, mark: int) -> None: ...


class CommandKey:
    """The platform's key, `command.key` in `folder` (mode 0600), and the numbers it has used (`command.mark`). Both
    are made where there are none. One process signs: where there may be several, the one that leads."""

    def __init__(self, folder: Path, lead: Leads | None = None) -> None:
        """Raises KeyFileError, OSError."""
        self._key = Ed25519PrivateKey.from_private_bytes(_key_bytes(folder))
        self._mark, self._lead = folder / "command.mark", lead
        self._last = self._ceiling = _read_mark(self._mark)
        self._count = 0 if lead is None else lead.mark

    def seal(self, subject: str, body: bytes, question: bytes = b"") -> bytes:
        """`body` signed and numbered. Raises OSError where the disk does not take the mark, and what its leader raises
        that leads no more."""
        number = self._next() if self._lead is None else self._next_of(self._lead)
        self._last = number
        signature = self._key.sign(_signed(subject, number, question, body))
        return f"{FORM} {number} {signature.hex()}\n".encode() + body

    def _next(self) -> int:
        number = max(self._last + 1, micros(wall_now()))
        if number >= self._ceiling:
            write_private(self._mark, str(number + AHEAD).encode())
            self._ceiling = number + AHEAD
        return number

    def _next_of(self, lead: Leads) -> int:
        lead.check()
        # Above what this folder used before there were leaders, too.
        count = max(self._count + 1, micros(wall_now()) // 1_000, self._last // FENCES + 1)
        if count >= lead.mark:
            lead.reserve(count + COUNTS_AHEAD)
            # For a version that knows the file's mark alone.
            write_private(self._mark, str((count + COUNTS_AHEAD) * FENCES).encode())
        self._count = count
        return count * FENCES + lead.number % FENCES

    @property
    def last(self) -> int:
        """The highest number that was used, or may have been before a restart."""
        return self._last


def fence_of(number: int) -> int:
    """The leader's fencing number in a command's; 0 where there is none in it."""
    return number % FENCES if number >= WITH_FENCE else 0


def public_key(folder: Path) -> bytes:
    """What a site pins: 32 bytes. The key is made where there is none, unless this machine was given the public half
    alone (`command.pub`). Raises KeyFileError, OSError."""
    given = folder / PUBLIC_FILE
    if given.exists():
        try:
            key = bytes.fromhex(given.read_text("ascii").strip())
        except ValueError as error:
            raise KeyFileError(f"{given}: no key; enter this machine's keys again") from error
        if len(key) != KEY_BYTES:
            raise KeyFileError(f"{given}: {len(key)} bytes, a key has {KEY_BYTES}; enter this machine's keys again")
        return key
    return Ed25519PrivateKey.from_private_bytes(_key_bytes(folder)).public_key().public_bytes_raw()


def last_number(folder: Path) -> int:
    """A number that was used up to now or may have been; each command from now on is above it. Raises KeyFileError."""
    mark = _read_mark(folder / "command.mark")
    return max(0, mark - (AHEAD if mark < WITH_FENCE else (COUNTS_AHEAD + 1) * FENCES))


def split_seal(message: bytes) -> Sealed:
    """Raises NotSealedError for what is not sealed at all."""
    match = _HEAD.match(message)
    if match is None:
        raise NotSealedError("it is not signed")
    return Sealed(int(match[1]), bytes.fromhex(match[2].decode()), message[match.end() :])


def opened(public: bytes, subject: str, message: bytes, question: bytes = b"") -> Sealed:
    """A message of the holder of the key, said on this subject to this question. Raises NotSealedError."""
    sealed = split_seal(message)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            sealed.signature, _signed(subject, sealed.number, question, sealed.body)
        )
    except (InvalidSignature, ValueError) as error:
        raise NotSealedError("it is signed with another key, for another subject, or was changed") from error
    return sealed


def _signed(subject: str, number: int, question: bytes, body: bytes) -> bytes:
    return f"{FORM} {number} {subject} {question.hex()}\n".encode() + body


def _key_bytes(folder: Path) -> bytes:
    path = folder / "command.key"
    private_folder(folder)
    with (folder / "command.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, Ed25519PrivateKey.generate().private_bytes_raw().hex().encode() + b"\n")
        try:
            key = bytes.fromhex(path.read_text("ascii").strip())
        except ValueError as error:
            raise KeyFileError(f"{path}: no key; restore it from a backup, or sites must join anew") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path}: {len(key)} bytes, a key has {KEY_BYTES}; restore it from a backup")
    return key


def _read_mark(path: Path) -> int:
    try:
        return int(path.read_text("ascii"))
    except FileNotFoundError:
        return 0
    except ValueError as error:
        why = f"{path}: no number; write into it one that is higher than any used, such as {micros(wall_now())}"
        raise KeyFileError(why) from error
