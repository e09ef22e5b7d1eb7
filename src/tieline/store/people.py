"""Accounts, sessions, one-time links and the trail of what was changed, in one small database.

Knows no rights and no hashes: what it keeps of a secret is what it is given. Every change of an account and its line in
the trail are one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tieline.store.database import REAL, Disk, Kind, Transaction, open_database

# Sessions of one account; a person with more browsers than this signs in anew in the oldest.
MAX_SESSIONS: Final = 20
# Lines of the trail shown or forwarded at a time.
TRAIL_PAGE: Final = 200

KIND: Final = Kind(
    name="accounts",
    application_id=0x746C7070,  # "tlpp"
    steps=(
        """
        CREATE TABLE account (
            id       TEXT PRIMARY KEY,
            name     TEXT    NOT NULL,
            email    TEXT    NOT NULL DEFAULT '',
            roles    TEXT    NOT NULL,
            sites    TEXT    NOT NULL DEFAULT '',
            tenant   TEXT    NOT NULL DEFAULT '',
            password TEXT    NOT NULL DEFAULT '',
            subject  TEXT    NOT NULL DEFAULT '',
            made     INTEGER NOT NULL,
            disabled INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE UNIQUE INDEX account_subject ON account (subject) WHERE subject <> '';
        CREATE TABLE session (
            digest  TEXT PRIMARY KEY,
            account TEXT    NOT NULL,
            made    INTEGER NOT NULL,
            seen    INTEGER NOT NULL,
            until   INTEGER NOT NULL,
            address TEXT    NOT NULL,
            agent   TEXT    NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX session_account ON session (account, seen);
        CREATE TABLE invitation (
            digest  TEXT PRIMARY KEY,
            account TEXT    NOT NULL,
            made_by TEXT    NOT NULL,
            until   INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE trail (
            seq     INTEGER PRIMARY KEY,
            at      INTEGER NOT NULL,
            by      TEXT    NOT NULL,
            address TEXT    NOT NULL,
            what    TEXT    NOT NULL,
            target  TEXT    NOT NULL,
            before  TEXT    NOT NULL,
            after   TEXT    NOT NULL,
            told    INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX trail_untold ON trail (seq) WHERE told = 0;
        """,
        """
        CREATE TABLE passkey (
            id      BLOB PRIMARY KEY,
            account TEXT    NOT NULL,
            key     BLOB    NOT NULL,
            count   INTEGER NOT NULL,
            name    TEXT    NOT NULL,
            made    INTEGER NOT NULL,
            seen    INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX passkey_account ON passkey (account);
        """,
    ),
    last="(SELECT max(seq) FROM trail)",
)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Roles are joined by spaces, sites (or regions) by line ends; times are seconds since 1970."""

    id: str
    name: str
    email: str
    roles: str
    sites: str
    tenant: str
    password: str
    subject: str
    made: int
    disabled: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    digest: str
    account: str
    made: int
    seen: int
    until: int
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class PasskeyRow:
    """A public key that signs an account in. `count`: the authenticator's own, where it counts; `seen` None: never."""

    id: bytes
    account: str
    key: bytes
    count: int
    name: str
    made: int
    seen: int | None


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One change: who, from where, of what, what before, what after."""

    seq: int
    at: int
    by: str
    address: str
    what: str
    target: str
    before: str
    after: str


_ACCOUNT: Final = "id, name, email, roles, sites, tenant, password, subject, made, disabled"
_SESSION: Final = "digest, account, made, seen, until, address, agent"
_PASSKEY: Final = "id, account, key, count, name, made, seen"
_TRAIL: Final = "seq, at, by, address, what, target, before, after"


class PeopleStore:
    """Any thread and several processes may use it. Everything raises StoreError."""

    def __init__(self, path: Path | None, *, disk: Disk = REAL) -> None:
        self._db = open_database(path, KIND, disk=disk)

    def write(self) -> AbstractContextManager[Transaction]:
        """One transaction around several of the calls below."""
        return self._db.write()

    # --- accounts ---------------------------------------------------------------

    def account(self, id_: str) -> AccountRow | None:
        return self._one(f"SELECT {_ACCOUNT} FROM account WHERE id = ?", id_)

    def account_of_subject(self, subject: str) -> AccountRow | None:
        """The account that an identity provider's subject signs in to."""
        return self._one(f"SELECT {_ACCOUNT} FROM account WHERE subject = ?", subject)

    def accounts(self) -> list[AccountRow]:
        """All, by id."""
        return [AccountRow(*row) for row in self._db.rows(f"SELECT {_ACCOUNT} FROM account ORDER BY id")]

    def put_account(self, row: AccountRow) -> None:
        """Make it, or change it as a whole."""
        sql = f"INSERT OR REPLACE INTO account ({_ACCOUNT}) VALUES (?,?,?,?,?,?,?,?,?,?)"
        values = (row.id, row.name, row.email, row.roles, row.sites, row.tenant, row.password, row.subject)
        self._db.run(sql, (*values, row.made, row.disabled))

    def drop_account(self, id_: str) -> None:
        """With its sessions, invitations and passkeys."""
        self._db.run("DELETE FROM account WHERE id = ?", (id_,))
        self._db.run("DELETE FROM session WHERE account = ?", (id_,))
        self._db.run("DELETE FROM invitation WHERE account = ?", (id_,))
        self.drop_passkeys(id_)

    def _one(self, sql: str, value: str) -> AccountRow | None:
        rows = self._db.rows(sql, (value,))
        return AccountRow(*rows[0]) if rows else None

    # --- sessions ---------------------------------------------------------------

    def session(self, digest: str) -> SessionRow | None:
        rows = self._db.rows(f"SELECT {_SESSION} FROM session WHERE digest = ?", (digest,))
        return SessionRow(*rows[0]) if rows else None

    def sessions(self, account: str) -> list[SessionRow]:
        """Of one account, the latest seen first."""
        sql = f"SELECT {_SESSION} FROM session WHERE account = ? ORDER BY seen DESC"
        return [SessionRow(*row) for row in self._db.rows(sql, (account,))]

    def put_session(self, row: SessionRow, now: int) -> None:
        """Sessions that are over go, and those beyond MAX_SESSIONS, the longest unseen first."""
        self._db.run("DELETE FROM session WHERE until <= ?", (now,))
        self._db.run(
            f"INSERT INTO session ({_SESSION}) VALUES (?,?,?,?,?,?,?)",
            (row.digest, row.account, row.made, row.seen, row.until, row.address, row.agent),
        )
        self._db.run(
            "DELETE FROM session WHERE account = ? AND digest NOT IN "
            "(SELECT digest FROM session WHERE account = ? ORDER BY seen DESC, made DESC LIMIT ?)",
            (row.account, row.account, MAX_SESSIONS),
        )

    def seen(self, digest: str, now: int) -> None:
        self._db.run("UPDATE session SET seen = ? WHERE digest = ?", (now, digest))

    def drop_sessions(self, account: str, digests: Iterable[str] | None = None) -> None:
        """Of one account: these, or all."""
        if digests is None:
            self._db.run("DELETE FROM session WHERE account = ?", (account,))
            return
        for digest in digests:
            self._db.run("DELETE FROM session WHERE account = ? AND digest = ?", (account, digest))

    # --- one-time links ----------------------------------------------------------

    def put_invitation(self, digest: str, account: str, made_by: str, until: int) -> None:
        """One at a time for each account."""
        self._db.run("DELETE FROM invitation WHERE account = ?", (account,))
        self._db.run("INSERT INTO invitation VALUES (?,?,?,?)", (digest, account, made_by, until))

    def invitation(self, digest: str) -> tuple[str, int] | None:
        """(account, until) of a link."""
        rows = self._db.rows("SELECT account, until FROM invitation WHERE digest = ?", (digest,))
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    def drop_invitations(self, account: str) -> None:
        self._db.run("DELETE FROM invitation WHERE account = ?", (account,))

    # --- passkeys -----------------------------------------------------------------

    def passkey(self, id_: bytes) -> PasskeyRow | None:
        rows = self._db.rows(f"SELECT {_PASSKEY} FROM passkey WHERE id = ?", (id_,))
        return PasskeyRow(*rows[0]) if rows else None

    def passkeys(self, account: str) -> list[PasskeyRow]:
        """Of one account, the oldest first."""
        sql = f"SELECT {_PASSKEY} FROM passkey WHERE account = ? ORDER BY made, id"
        return [PasskeyRow(*row) for row in self._db.rows(sql, (account,))]

    def put_passkey(self, row: PasskeyRow) -> None:
        sql = f"INSERT INTO passkey ({_PASSKEY}) VALUES (?,?,?,?,?,?,?)"
        self._db.run(sql, (row.id, row.account, row.key, row.count, row.name, row.made, row.seen))

    def passkey_used(self, id_: bytes, count: int, now: int) -> None:
        self._db.run("UPDATE passkey SET count = ?, seen = ? WHERE id = ?", (count, now, id_))

    def drop_passkeys(self, account: str, id_: bytes | None = None) -> int:
        """Of one account: this one, or all; returns how many there were."""
        if id_ is None:
            return self._db.run("DELETE FROM passkey WHERE account = ?", (account,))
        return self._db.run("DELETE FROM passkey WHERE account = ? AND id = ?", (account, id_))

    # --- the trail ---------------------------------------------------------------

    def note(self, row: TrailRow) -> None:
        """Add a line; its `seq` is given here."""
        self._db.run(
            "INSERT INTO trail (at, by, address, what, target, before, after) VALUES (?,?,?,?,?,?,?)",
            (row.at, row.by, row.address, row.what, row.target, row.before, row.after),
        )

    def untold(self) -> list[TrailRow]:
        """A page of lines that have not been put on record with the core yet, oldest first; call again for the next."""
        sql = f"SELECT {_TRAIL} FROM trail WHERE told = 0 ORDER BY seq LIMIT {TRAIL_PAGE}"
        return [TrailRow(*row) for row in self._db.rows(sql)]

    def told(self, last: int) -> None:
        """Lines up to `last` are on record."""
        self._db.run("UPDATE trail SET told = 1 WHERE told = 0 AND seq <= ?", (last,))

    def copy_to(self, path: Path) -> None:
        self._db.copy_to(path)

    def close(self) -> None:
        self._db.close()
