"""Commands to sites, signed with a key that each site pinned when it joined, and numbered.

A sealed message is one line, `tieline-1 NUMBER SIGNATURE`, and the body. Signed (Ed25519) are the subject, the number,
the question that it answers, and the body: what was said to one site, on one subject or to one question is nothing
anywhere else. Numbers only grow, across restarts and clocks that are set back: they are microseconds of the wall clock
where that is ahead of what was used, and a mark on disk is kept ahead of both.
"""

from __future__ import annotations

import fcntl
import re
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tieline.clock import micros, wall_now
from tieline.store.files import private_folder, write_private

FORM: Final = "tieline-1"
KEY_BYTES: Final = 32
# The mark on disk is ahead by this many numbers, a minute of the wall clock: it is written once a minute at most.
AHEAD: Final = 60_000_000
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


class CommandKey:
    """The platform's key, `command.key` in `folder` (mode 0600), and the numbers it has used (`command.mark`). Both
    are made where there are none. One process signs."""

    def __init__(self, folder: Path) -> None:
        """Raises KeyFileError, OSError."""
        self._key = Ed25519PrivateKey.from_private_bytes(_key_bytes(folder))
        self._mark = folder / "command.mark"
        self._last = self._ceiling = _read_mark(self._mark)

    def seal(self, subject: str, body: bytes, question: bytes = b"") -> bytes:
        """`body` signed and numbered. Raises OSError where the disk does not take the mark."""
        number = max(self._last + 1, micros(wall_now()))
        if number >= self._ceiling:
            write_private(self._mark, str(number + AHEAD).encode())
            self._ceiling = number + AHEAD
        self._last = number
        signature = self._key.sign(_signed(subject, number, question, body))
        return f"{FORM} {number} {signature.hex()}\n".encode() + body

    @property
    def last(self) -> int:
        """The highest number that was used, or may have been before a restart."""
        return self._last


def public_key(folder: Path) -> bytes:
    """What a site pins: 32 bytes. The key is made where there is none. Raises KeyFileError, OSError."""
    return Ed25519PrivateKey.from_private_bytes(_key_bytes(folder)).public_key().public_bytes_raw()


def last_number(folder: Path) -> int:
    """A number that was used up to now or may have been; each command from now on is above it. Raises KeyFileError."""
    return max(0, _read_mark(folder / "command.mark") - AHEAD)


def split_seal(message: bytes) -> Sealed:
    """Raises NotSealedError for what is not sealed at all."""
    found = _HEAD.match(message)
    if found is None:
        raise NotSealedError("it is not signed")
    return Sealed(int(found[1]), bytes.fromhex(found[2].decode()), message[found.end() :])


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
