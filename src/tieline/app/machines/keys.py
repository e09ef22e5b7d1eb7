"""What a machine of a platform is given: the link's passwords of its parts and no others', and keys where they need
them.

Made once, on one machine (`tieline machine make`): that file knows all. Each other machine is given a file for its
parts (`tieline machine keys`), and enters it (`tieline machine enter`). Mode 0600; whoever carries it to the machine
carries a secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tieline.clock import wall_now
from tieline.config import Config
from tieline.intake import IntakeError, read
from tieline.link.certificate import CertificateError, make_certificates
from tieline.link.signing import PUBLIC_FILE, CommandKey, KeyFileError, public_key
from tieline.link.users import password_of
from tieline.store.files import private_folder, write_private

KEYS_FILE: Final = "machine.json"
# Of the data folder, as in `joins`.
LINK_FOLDER, TLS_FOLDER = "link", "tls"
# The secret that gateways show the coordinator of budgets, and how far above a server's port that listens.
BUDGETS: Final = "budgets"
BUDGETS_ABOVE: Final = 1_000
# What runs on a machine, each with the users of the link that it is.
USERS: Final[dict[str, tuple[str, ...]]] = {
    "link": ("link",),
    "core": ("core",),
    "gateway": ("gateway", BUDGETS),
    "console": ("console", "alerts", "operator"),
}
PARTS: Final = tuple(USERS)
DEMO_KEY, KEYS_FOLDER = "run/demo_key", "run/keys/"
# What the console changes tenants' keys with.
_PORTAL: Final = "run/portal.key"


class MachineError(ValueError):
    """One line: what does not go, and what to do."""


class MachineKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file holds. `secret`, `authority_key`: only for machines with a server of the link. `command_key`: only
    for cores, in hexadecimal."""

    parts: tuple[str, ...]
    secret: str | None = None
    passwords: dict[str, str] = {}
    command_key: str | None = None
    command_public: str
    authority: str
    authority_key: str | None = None
    files: dict[str, str] = {}

    def password(self, user: str) -> str | None:
        """Of one user of the link; None where this machine has none."""
        return password_of(self.secret, user) if self.secret is not None else self.passwords.get(user)

    def for_parts(self, parts: Sequence[str]) -> MachineKeys:
        """The file of a machine with these parts. Raises MachineError."""
        known_parts(parts)
        if self.secret is None or self.command_key is None or self.authority_key is None:
            raise MachineError(f"this machine has the keys of {', '.join(self.parts)} alone; make others where all are")
        users = [user for part in parts for user in USERS[part]]
        link, core = "link" in parts, "core" in parts
        return MachineKeys(
            parts=tuple(dict.fromkeys(parts)),
            secret=self.secret if link else None,
            passwords={} if link else {user: password_of(self.secret, user) for user in users},
            command_key=self.command_key if core else None,
            command_public=self.command_public,
            authority=self.authority,
            authority_key=self.authority_key if link else None,
            files=self.files if {"gateway", "console"} & set(parts) else {},
        )

    def enter(self, data: Path) -> None:
        """Put each key where its part looks for it. Raises OSError."""
        private_folder(data)
        link = data / LINK_FOLDER
        if self.command_key is not None:
            write_private(link / "command.key", self.command_key.encode() + b"\n")
        else:
            write_private(link / PUBLIC_FILE, self.command_public.encode() + b"\n")
        write_private(link / TLS_FOLDER / "authority.pem", self.authority.encode())
        if self.authority_key is not None:
            write_private(link / TLS_FOLDER / "authority.key", self.authority_key.encode())
        for name, text in self.files.items():
            if name != _PORTAL and name != DEMO_KEY and not name.startswith(KEYS_FOLDER):
                raise OSError(f"{name!r} is no file of a machine's")
            write_private(data / name, text.encode() + b"\n")
        write_private(data / KEYS_FILE, msgspec.json.format(msgspec.json.encode(self)))


def known_parts(parts: Sequence[str]) -> None:
    """Raises MachineError."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise MachineError(f"no part {', '.join(unknown) or 'named'}; there are {', '.join(PARTS)}")


def make_keys(data: Path, config: Config) -> MachineKeys:
    """The keys of a new platform, in its first machine's folder. Raises MachineError, OSError."""
    if (data / KEYS_FILE).exists():
        raise MachineError(f"{data / KEYS_FILE} is there already; other machines' keys come from: tieline machine keys")
    if (data / "run" / "runtime.json").exists():
        raise MachineError(f"a platform of one machine ran on {data}; name another folder, or see docs/fleet.md")
    private_folder(data)
    try:
        CommandKey(data / LINK_FOLDER)
        authority = make_certificates(data / LINK_FOLDER / TLS_FOLDER, ["127.0.0.1"], wall_now())
        public = public_key(data / LINK_FOLDER).hex()
    except (KeyFileError, CertificateError) as error:
        raise MachineError(str(error)) from error
    made = MachineKeys(
        parts=PARTS,
        secret=secrets.token_urlsafe(32),
        command_key=(data / LINK_FOLDER / "command.key").read_text().strip(),
        command_public=public,
        authority=authority,
        authority_key=(data / LINK_FOLDER / TLS_FOLDER / "authority.key").read_text("ascii"),
        files={name: f"sk-tieline-{secrets.token_urlsafe(24)}" for name in (_PORTAL, *_made_keys(config))},
    )
    made.enter(data)
    return made


def _made_keys(config: Config) -> list[str]:
    """The files of tenants' keys with `generate = true`, as `Runtime.key_path` names them."""
    generated = [key for tenant in config.tenants for key in tenant.keys if key.generate]
    ready = next((key.id for key in generated if key.role == "user"), None)
    return [DEMO_KEY if key.id == ready else f"{KEYS_FOLDER}{key.id}" for key in generated]


def read_keys(path: Path) -> MachineKeys:
    """Raises MachineError."""
    try:
        return read(path.read_bytes(), _read_keys)
    except FileNotFoundError as error:
        raise MachineError(
            f"{path} is not there: this machine has no keys. The first of a platform makes them: tieline machine make; "
            "each other is given them: tieline machine keys PART... there, tieline machine enter FILE here"
        ) from error
    except (OSError, IntakeError) as error:
        raise MachineError(f"{path}: {error}; enter this machine's keys again") from error


_read_keys = msgspec.json.Decoder(MachineKeys).decode
