"""The password of a site's own page: made once, shown once, kept as argon2id in `local.json` of its folder."""

from __future__ import annotations

import secrets
from pathlib import Path

import argon2
import msgspec

from tieline.intake import IntakeError, read
from tieline.store.files import write_private

# 12 characters of 32: 60 bits, typed by hand on a telephone. What looks alike is left out.
ALPHABET, LENGTH = "abcdefghjkmnpqrstuvwxyz23456789ACEFHJKLMNPRTUVWXYZ"[:50], 14
MAX_PASSWORD = 200


class LocalPasswordError(ValueError):
    """One line: the file of the password is missing or cannot be read, and what to do."""


class _KeptPassword(msgspec.Struct, frozen=True, kw_only=True):
    hash: str


def path_of(folder: Path) -> Path:
    return folder / "local.json"


def make_password(folder: Path) -> str:
    """A new password, in place of any before. Only its hash stays. Raises OSError."""
    password = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    stored = _KeptPassword(hash=argon2.PasswordHasher().hash(password))
    write_private(path_of(folder), msgspec.json.encode(stored))
    return password


class LocalPassword:
    """The hash that a given password is held against."""

    def __init__(self, folder: Path) -> None:
        """Raises LocalPasswordError."""
        path = path_of(folder)
        try:
            self._hash = read(path.read_bytes(), _read_kept).hash
        except FileNotFoundError as error:
            why = f"{folder} has no password for its page; make one with: tieline agent --new-password"
            raise LocalPasswordError(why) from error
        except (OSError, IntakeError) as error:
            raise LocalPasswordError(f"{path}: {error}; make another with: tieline agent --new-password") from error

    def right(self, given: str) -> bool:
        """Takes some 50 ms of CPU, on purpose."""
        try:
            return argon2.PasswordHasher().verify(self._hash, given[:MAX_PASSWORD])
        except argon2.exceptions.Argon2Error:
            return False
        except argon2.exceptions.InvalidHashError:
            return False


_read_kept = msgspec.json.Decoder(_KeptPassword).decode
