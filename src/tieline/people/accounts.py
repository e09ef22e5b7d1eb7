"""Accounts and sessions: who signs in, how, and who changed what of whom.

Passwords are kept as argon2id (RFC 9106's second recommended choice, the library's default), sessions and one-time
links as SHA-256 of 256 random bits. Told the time; every change leaves a line in the trail in the same transaction.
There is always an enabled admin: a change that would leave none is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tieline.people.rights import PARTNER_ROLES, ROLES, TENANT_ROLES, Right, Role, may
from tieline.store.people import AccountRow, PasskeyRow, PeopleStore, SessionRow, TrailRow

# One working shift; the next one signs in under their own name.
SESSION: Final = timedelta(hours=12)
# A session's last use is written down at most this often.
SEEN_EVERY: Final = timedelta(minutes=1)
INVITATION: Final = timedelta(hours=24)
MIN_PASSWORD, MAX_PASSWORD = 12, 256
# Wrong passwords of one account or from one address: each doubles the wait, from the fourth on, up to a quarter hour.
FREE_TRIES, LONGEST_WAIT_S = 3, 900.0
# Names whose failures are remembered at a time; the oldest are forgotten first.
MAX_REMEMBERED: Final = 10_000
# A person's laptop, phone and two keys, twice.
MAX_PASSKEYS: Final = 8
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,79}")


class PeopleError(ValueError):
    """What is wrong with what was asked, field first, and what would be right."""


class ThrottledError(PeopleError):
    """Too many wrong passwords; `wait_s` until the next try is looked at."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"too many tries; wait {wait_s:.0f} s")


# What stands before an organisation's name where an account says whose it is: no tenant's name has a slash.
PARTNER: Final = "partner/"


@dataclass(frozen=True, slots=True)
class Account:
    """A person as the house knows them. `places` narrows a site's rights to sites or regions; none: all. `tenant`:
    whose people they are, a tenant's or, after `PARTNER`, an organisation's with sites of its own."""

    id: str
    name: str
    roles: tuple[Role, ...]
    places: tuple[str, ...] = ()
    tenant: str = ""
    email: str = ""
    has_password: bool = False
    disabled: bool = False

    @property
    def partner(self) -> str:
        """The organisation with sites of its own that they are of; "": of none."""
        return self.tenant.removeprefix(PARTNER) if self.tenant.startswith(PARTNER) else ""

    def may(self, right: Right, site: str = "", region: str = "") -> bool:
        return not self.disabled and may(self.roles, right, self.places, site, region)


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in; `id` is the digest of its cookie, which is no secret."""

    id: str
    account: str
    made: int
    seen: int
    until: int
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks for a change, and from where."""

    name: str
    address: str = "this machine"


class Throttle:
    """Wrong passwords by name: how long the next try waits. In memory, bounded; a restart forgives."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}

    def wait_s(self, name: str, now_s: float) -> float:
        count, since = self._failures.get(name, (0, 0.0))
        if count < FREE_TRIES:
            return 0.0
        pause = min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT_S)
        return float(max(0.0, since + pause - now_s))

    def failed(self, name: str, now_s: float) -> None:
        count, _ = self._failures.pop(name, (0, 0.0))
        self._failures[name] = (count + 1, now_s)
        while len(self._failures) > MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, name: str) -> None:
        self._failures.pop(name, None)


class People:
    """The accounts of one data folder."""

    def __init__(self, store: PeopleStore) -> None:
        self.store = store
        self.throttle = Throttle()
        # Here and not above: the table of rights is asked on the light install too, which has no passwords.
        import argon2

        self._hasher = argon2.PasswordHasher()
        self._wrong = argon2.exceptions.Argon2Error
        self._nobody: str | None = None

    # --- who there is -----------------------------------------------------------

    def account(self, id_: str) -> Account | None:
        row = self.store.account(id_)
        return None if row is None else _account(row)

    def accounts(self) -> list[Account]:
        return [_account(row) for row in self.store.accounts()]

    @property
    def has_admin(self) -> bool:
        """Whether somebody can sign in who may make accounts."""
        return any("admin" in a.roles and not a.disabled and a.has_password for a in self.accounts())

    # --- changing who there is ----------------------------------------------------

    def add(self, account: Account, by: Who, now: datetime) -> str:
        """Make an account; returns its one-time link's secret. Raises PeopleError."""
        _check(account)
        with self.store.write():
            if self.store.account(account.id) is not None:
                raise PeopleError(f"id: {account.id!r} is taken; change its role, or choose another id")
            self.store.put_account(_row(account, made=_s(now)))
            self._note(by, now, "add account", account.id, None, account)
            return self._invite(account.id, by, now)

    def invite(self, id_: str, by: Who, now: datetime) -> str:
        """A new one-time link for an account: the one before no longer works. Raises PeopleError."""
        with self.store.write():
            account = self._known(id_)
            self._note(by, now, "invite", id_, None, account)
            return self._invite(id_, by, now)

    def change(self, account: Account, by: Who, now: datetime) -> None:
        """Roles, places, name, tenant, disabled; password and sessions stay, unless it is disabled. Raises
        PeopleError."""
        _check(account)
        with self.store.write():
            row = self.store.account(account.id)
            if row is None:
                raise PeopleError(f"id: no account {account.id!r}")
            before = _account(row)
            changed = replace(account, has_password=before.has_password)
            self.store.put_account(_row(changed, made=row.made, password=row.password, subject=row.subject))
            if account.disabled:
                self.store.drop_sessions(account.id)
            self._need_an_admin(before)
            self._note(by, now, "change account", account.id, before, changed)

    def remove(self, id_: str, by: Who, now: datetime) -> None:
        """Raises PeopleError, also for the last admin."""
        with self.store.write():
            before = self._known(id_)
            self.store.drop_account(id_)
            self._need_an_admin(before)
            self._note(by, now, "remove account", id_, before, None)

    def _need_an_admin(self, before: Account) -> None:
        was = "admin" in before.roles and not before.disabled and before.has_password
        if was and not self.has_admin:
            raise PeopleError(f"id: {before.id!r} is the last admin; make another one first")

    def _known(self, id_: str) -> Account:
        row = self.store.account(id_)
        if row is None:
            raise PeopleError(f"id: no account {id_!r}")
        return _account(row)

    def _invite(self, id_: str, by: Who, now: datetime) -> str:
        secret = secrets.token_urlsafe(32)
        self.store.put_invitation(_digest(secret), id_, by.name, _s(now + INVITATION))
        return secret

    # --- the first admin ----------------------------------------------------------

    def first_link(self, now: datetime) -> str | None:
        """The secret of a one-time link that makes the first admin; None where there is one already."""
        if self.has_admin:
            return None
        who = Who("tieline up")
        if self.store.account("admin") is None:
            return self.add(Account("admin", "First admin", ("admin",)), who, now)
        return self.invite("admin", who, now)

    # --- signing in -----------------------------------------------------------------

    def accept(self, secret: str, password: str, name: str, address: str, now: datetime) -> Account:
        """Use a one-time link: set a name and a password. Raises PeopleError."""
        _check_password(password)
        name = _name(name)
        hashed = self._hasher.hash(password)
        with self.store.write():
            invitation = self.store.invitation(_digest(secret))
            if invitation is None or invitation[1] <= _s(now):
                raise PeopleError("link: it was used, has ended or was replaced; ask for a new one")
            row = self.store.account(invitation[0])
            if row is None or row.disabled:
                raise PeopleError("link: its account is gone; ask for a new one")
            self.store.put_account(replace(row, name=name, password=hashed))
            self.store.drop_invitations(row.id)
            self.store.drop_sessions(row.id)
            self.store.drop_passkeys(row.id)  # whoever had the account before is not let in by what they hold
            after = self._known(row.id)
            self._note(Who(row.id, address), now, "accept invitation", row.id, _account(row), after)
            return after

    def sign_in(self, id_: str, password: str, address: str, now: datetime) -> Account:
        """Raises ThrottledError, or PeopleError that does not say whether the name or the password is wrong."""
        now_s = now.timestamp()
        names = (f"account {id_[:80]}", f"address {address}")
        wait_s = max(self.throttle.wait_s(name, now_s) for name in names)
        if wait_s > 0:
            raise ThrottledError(wait_s)
        row = self.store.account(id_)
        if self._nobody is None:
            self._nobody = self._hasher.hash("nobody has this password")
        # A sign-in with an unknown name costs as much as one with a wrong password, so that time tells nothing.
        right = self._right(row.password if row is not None and row.password else self._nobody, password)
        if row is None or not row.password or row.disabled or not right:
            for name in names:
                self.throttle.failed(name, now_s)
            raise PeopleError("name or password is wrong")
        for name in names:
            self.throttle.succeeded(name)
        if self._hasher.check_needs_rehash(row.password):
            self.store.put_account(replace(row, password=self._hasher.hash(password)))
        return _account(row)

    def _right(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password[:MAX_PASSWORD])
        except self._wrong:
            return False

    def change_password(self, id_: str, old: str, new: str, address: str, now: datetime) -> None:
        """Ends every other session of the account. Raises PeopleError, ThrottledError."""
        _check_password(new)
        self.sign_in(id_, old, address, now)
        row = self.store.account(id_)
        assert row is not None
        with self.store.write():
            self.store.put_account(replace(row, password=self._hasher.hash(new)))
            self.store.drop_sessions(id_)
            self._note(Who(id_, address), now, "change password", id_, None, None)

    def by_subject(self, subject: str, account: Account, address: str, now: datetime) -> Account:
        """The account of an identity provider's `subject`, made or brought up to what the provider says of it."""
        _check(account)
        with self.store.write():
            row = self.store.account_of_subject(subject)
            if row is None:
                taken = self.store.account(account.id)
                if taken is not None:
                    raise PeopleError(
                        f"id: {account.id!r} is an account of this machine; ask an admin to remove it first"
                    )
                self.store.put_account(_row(account, made=_s(now), subject=subject))
                self._note(Who(account.id, address), now, "add account", account.id, None, account)
                return account
            before = _account(row)
            if before.disabled:
                raise PeopleError("this account is disabled; ask an admin")
            after = replace(account, id=row.id, has_password=before.has_password)
            if after != before:
                self.store.put_account(_row(after, made=row.made, password=row.password, subject=subject))
                self._need_an_admin(before)
                self._note(Who(row.id, address), now, "change account", row.id, before, after)
            return after

    # --- passkeys -------------------------------------------------------------------

    def add_passkey(self, id_: str, key: PasskeyRow, address: str, now: datetime) -> None:
        """Raises PeopleError: too many, or known already."""
        with self.store.write():
            self._known(id_)
            if len(self.store.passkeys(id_)) >= MAX_PASSKEYS:
                raise PeopleError(f"passkey: an account has at most {MAX_PASSKEYS}; remove one first")
            if self.store.passkey(key.id) is not None:
                raise PeopleError("passkey: it signs somebody in already")
            self.store.put_passkey(key)
            self._note(Who(id_, address), now, "add passkey", id_, None, None)

    def remove_passkey(self, id_: str, key: bytes, address: str, now: datetime) -> None:
        """Raises PeopleError."""
        with self.store.write():
            if not self.store.drop_passkeys(id_, key):
                raise PeopleError("passkey: there is no such one")
            self._note(Who(id_, address), now, "remove passkey", id_, None, None)

    def throttled(self, address: str, now: datetime) -> None:
        """Raises ThrottledError where too much of what came from this address was wrong."""
        wait_s = self.throttle.wait_s(f"address {address}", now.timestamp())
        if wait_s > 0:
            raise ThrottledError(wait_s)

    # --- sessions -------------------------------------------------------------------

    def open_session(self, account: Account, address: str, agent: str, now: datetime) -> str:
        """The secret of a new session's cookie."""
        secret = secrets.token_urlsafe(32)
        row = SessionRow(_digest(secret), account.id, _s(now), _s(now), _s(now + SESSION), address, agent[:200])
        with self.store.write():
            self.store.put_session(row, _s(now))
            self._note(Who(account.id, address), now, "sign in", account.id, None, None)
        return secret

    def holder(self, secret: str, now: datetime) -> Account | None:
        """Whose session this is; None where it has ended, was revoked, or never was."""
        row = self.store.session(_digest(secret))
        if row is None or row.until <= _s(now):
            return None
        account = self.account(row.account)
        if account is None or account.disabled:
            return None
        if _s(now) - row.seen >= SEEN_EVERY.total_seconds():
            self.store.seen(row.digest, _s(now))
        return account

    def sessions(self, id_: str, now: datetime) -> list[Session]:
        """Those that have not ended, the latest seen first."""
        rows = self.store.sessions(id_)
        return [
            Session(r.digest, r.account, r.made, r.seen, r.until, r.address, r.agent) for r in rows if r.until > _s(now)
        ]

    def sign_out(self, secret: str) -> None:
        row = self.store.session(_digest(secret))
        if row is not None:
            self.store.drop_sessions(row.account, [row.digest])

    def revoke(self, id_: str, session: str | None, by: Who, now: datetime) -> None:
        """End one session of an account, or all."""
        with self.store.write():
            self._known(id_)
            self.store.drop_sessions(id_, None if session is None else [session])
            self._note(by, now, "revoke session" if session else "revoke sessions", id_, None, None)

    # --- the trail --------------------------------------------------------------------

    def _note(
        self, by: Who, now: datetime, what: str, target: str, before: Account | None, after: Account | None
    ) -> None:
        row = TrailRow(0, _s(now), by.name, by.address, what, target, _told(before), _told(after))
        self.store.note(row)


def _told(account: Account | None) -> str:
    """An account as the trail keeps it: nothing secret is in it."""
    if account is None:
        return ""
    fields = {"roles": account.roles, "places": account.places, "tenant": account.tenant, "name": account.name}
    if account.disabled:
        fields["disabled"] = "yes"
    return json.dumps({k: v for k, v in fields.items() if v}, ensure_ascii=False)


def _check(account: Account) -> None:
    if not _ID.fullmatch(account.id):
        raise PeopleError("id: use lower-case letters, digits and . _ @ + -, at most 80")
    _name(account.name)
    unknown = [role for role in account.roles if role not in ROLES]
    if unknown or not account.roles:
        raise PeopleError(f"roles: {', '.join(unknown) or 'none given'}; use {', '.join(ROLES)}")
    _check_whose(account)


def _check_whose(account: Account) -> None:
    """A tenant's and a partner's people are of one, and nobody else is."""
    tenants = [role for role in account.roles if role in TENANT_ROLES]
    partners = [role for role in account.roles if role in PARTNER_ROLES]
    if bool(partners) != bool(account.partner) or (partners and len(partners) != len(account.roles)):
        raise PeopleError("partner: the role partner needs an organisation and stands alone, and only it has one")
    if bool(tenants) != bool(account.tenant and not partners):
        raise PeopleError("tenant: a tenant's roles (owner, developer, billing) need a tenant, and only they do")
    if tenants and len(tenants) != len(account.roles):
        raise PeopleError("roles: a tenant's people cannot be the operator's as well")


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > 80 or not name.isprintable() or "|" in name:
        raise PeopleError("name: 1 to 80 characters that print, without |")
    return name


def _check_password(password: str) -> None:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise PeopleError(f"password: {MIN_PASSWORD} to {MAX_PASSWORD} characters; four plain words are a good one")


def _account(row: AccountRow) -> Account:
    roles = tuple(role for role in ROLES if role in row.roles.split())
    return Account(
        id=row.id,
        name=row.name,
        roles=roles,
        places=tuple(row.sites.splitlines()),
        tenant=row.tenant,
        email=row.email,
        has_password=bool(row.password) or bool(row.subject),
        disabled=bool(row.disabled),
    )


def _row(account: Account, made: int, password: str = "", subject: str = "") -> AccountRow:
    return AccountRow(
        id=account.id,
        name=account.name,
        email=account.email,
        roles=" ".join(account.roles),
        sites="\n".join(account.places),
        tenant=account.tenant,
        password=password,
        subject=subject,
        made=made,
        disabled=int(account.disabled),
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _s(moment: datetime) -> int:
    return int(moment.timestamp())
