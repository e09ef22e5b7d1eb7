"""`/admin/...`: an operator's hand on a running gateway. Each change is a record of who did what and when.

Keys are made here and shown once; only their hash is kept. What changes here holds for all processes of this
gateway within a second, and after a restart (`overlay`).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import parse_qs, unquote

import msgspec

from tieline.gateway import errors
from tieline.gateway.budgets.admit import OPEN_TENANT, Account
from tieline.gateway.budgets.keys import ADMIN_KEY_FILE, Overlay, OverlayFile, admin_key, over
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.metering import history
from tieline.gateway.requests.finish import JSON_HEADERS
from tieline.gateway.routing.route import State
from tieline.gateway.service import Service
from tieline.gateway.settings import Key, Limits, Patience, Project, Role, Settings, SettingsError, Tenant, hash_key
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.http1 import RequestHead
from tieline.store import StoreError

MAX_ID: Final = 64

T = TypeVar("T")
_encode: Final = msgspec.json.Encoder().encode


class _NewKey(msgspec.Struct, forbid_unknown_fields=True):
    tenant: str
    id: str = ""
    project: str = "default"
    models: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expires: datetime | None = None
    role: Role = "user"
    limits: Limits = Limits()


class _KeyChange(msgspec.Struct, forbid_unknown_fields=True):
    models: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    regions: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    networks: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    expires: datetime | msgspec.UnsetType | None = msgspec.UNSET
    limits: Limits | msgspec.UnsetType = msgspec.UNSET


class _TenantChange(msgspec.Struct, forbid_unknown_fields=True):
    limits: Limits | msgspec.UnsetType = msgspec.UNSET
    projects: tuple[Project, ...] | msgspec.UnsetType = msgspec.UNSET
    weight: float | msgspec.UnsetType = msgspec.UNSET
    latency_class: Patience | msgspec.UnsetType = msgspec.UNSET
    regions: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    max_usd_per_mtok: float | msgspec.UnsetType | None = msgspec.UNSET


class _State(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["draining", "ready"]


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class Admin:
    """The paths under /admin. `configured` is what the configuration said, without what was changed since."""

    def __init__(
        self, svc: Service, file: OverlayFile, configured: Settings, folders: Callable[[], list[Path]]
    ) -> None:
        self.svc, self.file, self.configured, self.folders = svc, file, configured, folders
        # Where the configuration has no keys this one administers, whatever keys are made since.
        self._local = "" if configured.keys else hash_key(admin_key(file.path.parent))
        self._fault = ""

    def refresh(self) -> None:
        """Once a second: take over what another process of this gateway changed."""
        if not self.file.changed():
            return
        try:
            self.svc.adopt(over(self.configured, self.file.read()))
            self._fault = ""
        except ValueError as error:
            if str(error) != self._fault:
                self.svc.log.error("%s; what was read before stands", error)
            self._fault = str(error)

    def handle(self, door: ClientConnection, head: RequestHead, body: bytes) -> None:
        """Called for every framed request of these paths."""
        account = self._who(head, door.peer)
        if isinstance(account, Refusal):
            door.refuse(account)
            return
        words = [unquote(one) for one in head.path.split("/")[2:]]
        if not self._may(account, head.method, words):
            door.refuse(Refusal(403, "this needs a key with role 'admin'", "admin_only"))
            return
        door.run(self._answer(door, head, words, body, account))

    def _who(self, head: RequestHead, peer: str) -> Account | Refusal:
        """Always a key: a door that is open to requests is not open to changes."""
        given = head.get(b"authorization:") or b""
        if self._local and given[:7].lower() == b"bearer ":
            digest = hash_key(given[7:].strip().decode("latin-1"))
            if hmac.compare_digest(digest, self._local):
                return _LOCAL_ADMIN
        account = self.svc.book.identify(given or None, peer, self.svc.clock.now())
        if account is self.svc.book.open:
            where = self.file.path.with_name(ADMIN_KEY_FILE)
            return Refusal(401, f"/admin needs the key in {where}, as 'Authorization: Bearer <key>'", "invalid_api_key")
        return account

    def _may(self, account: Account, method: str, words: list[str]) -> bool:
        if account.key.role == "admin":
            return True
        own_usage = len(words) == 3 and words[0] == "tenants" and words[2] == "usage" and method in ("GET", "HEAD")
        return account.key.role == "billing" and own_usage and words[1] == account.key.tenant

    async def _answer(
        self, door: ClientConnection, head: RequestHead, words: list[str], body: bytes, account: Account
    ) -> None:
        number = door.request_id
        try:
            status, found = await self._do(head, words, body, account.key.id)
        except _RefusedError as error:
            refusal: Refusal | None = error.refusal
        except (StoreError, OSError, SettingsError) as error:
            self.svc.log.error("%s", error)
            refusal = Refusal(503, "this cannot be read or written now", "unavailable", retry_after_s=5)
        else:
            refusal = None
        if door.transport is None or door.request_id != number:
            return
        if refusal is not None:
            if refusal.status == 405:
                door.answer(405, refusal.headers() + b"allow: GET, POST, DELETE\r\n", refusal.body())
            else:
                door.refuse(refusal)
            return
        door.answer(status, JSON_HEADERS, _encode(found), head_only=head.method == "HEAD")

    async def _do(self, head: RequestHead, words: list[str], body: bytes, by: str) -> tuple[int, Any]:
        method = "GET" if head.method == "HEAD" else head.method
        query = {key: values[-1] for key, values in parse_qs(head.target.partition("?")[2]).items()}
        match method, words:
            case "GET", ["replicas"]:
                return 200, {"data": self.svc.table.shown()}
            case "POST", ["replicas", name]:
                return 200, self._turn(name, body, by)
            case "GET", ["keys"]:
                return 200, {"data": [self._shown(key) for key in self.svc.settings.keys]}
            case "POST", ["keys"]:
                return 201, await self._make_key(body, by)
            case "GET", ["keys", name]:
                return 200, self._shown(self._key(name))
            case "POST", ["keys", name]:
                return 200, await self._change_key(name, body, by)
            case "DELETE", ["keys", name]:
                return 200, await self._revoke(name, by)
            case "GET", ["tenants"]:
                return 200, {"data": [msgspec.to_builtins(one) for one in self.svc.settings.tenants]}
            case "GET", ["tenants", name]:
                return 200, msgspec.to_builtins(self._tenant(name))
            case "POST", ["tenants", name]:
                return 200, await self._change_tenant(name, body, by)
            case "GET", ["tenants", name, "usage"]:
                return 200, await self._usage(name, query)
            case "GET", ["audit"]:
                return 200, await self._trail(query)
            case _, ["replicas" | "tenants"] | ["keys"] | ["audit"] | ["replicas" | "keys" | "tenants", _]:
                raise _RefusedError(Refusal(405, f"{head.method} is not offered here", "method_not_allowed"))
            case _:
                raise _RefusedError(errors.not_found(head.path))

    # --- replicas -----------------------------------------------------------------

    def _turn(self, name: str, body: bytes, by: str) -> Any:
        """Drain a replica or take it back."""
        svc = self.svc
        backend = svc.backends.get(name)
        if backend is None:
            raise _RefusedError(errors.not_found(f"/admin/replicas/{name}"))
        state = _read(body, _State).state
        backend.held = state == "draining"
        svc.turn(backend, State(state))
        svc.meter.record_action(by, f"replica {state}", backend.id)
        return {"id": backend.id, "state": backend.state.value}

    # --- keys and tenants ---------------------------------------------------------

    async def _make_key(self, body: bytes, by: str) -> Any:
        given = _read(body, _NewKey)
        if not any(one.id == given.tenant for one in self.svc.settings.tenants):
            raise _RefusedError(
                bad_request(f"there is no tenant {given.tenant!r}; make it first", "invalid_value", "tenant")
            )
        secret = f"sk-{secrets.token_urlsafe(32)}"
        id_ = given.id or f"key-{secrets.token_hex(6)}"
        if not _name(id_):
            raise _RefusedError(
                bad_request("an id has 1 to 64 letters, digits, '-', '_' or '.'", "invalid_value", "id")
            )
        plain = {name: getattr(given, name) for name in _NewKey.__struct_fields__ if name != "id"}
        key = _make(lambda: Key(id=id_, sha256=hash_key(secret), **plain))

        def change(before: Overlay) -> Overlay:
            known = {one.id for one in self.configured.keys} | before.keys.keys() | set(before.revoked)
            if id_ in known:  # also a revoked one: usage is kept under its name
                raise _RefusedError(Refusal(409, f"there is a key {id_!r} already", "conflict", param="id"))
            return msgspec.structs.replace(before, keys=before.keys | {id_: key})

        await self._change(change, by, "make key", id_, f"tenant {key.tenant}, role {key.role}")
        return {"key": secret, **self._shown(key)}

    async def _change_key(self, name: str, body: bytes, by: str) -> Any:
        given = _read(body, _KeyChange)
        changes = _set(given)

        def change(before: Overlay) -> Overlay:
            key = before.keys.get(name) or self._key(name)
            return msgspec.structs.replace(
                before, keys=before.keys | {name: _make(lambda: msgspec.structs.replace(key, **changes))}
            )

        await self._change(change, by, "change key", name, _encode(given).decode())
        return self._shown(self._key(name))

    async def _revoke(self, name: str, by: str) -> Any:
        self._key(name)

        def change(before: Overlay) -> Overlay:
            if name in before.revoked:
                return before
            keys = {id_: key for id_, key in before.keys.items() if id_ != name}
            return msgspec.structs.replace(before, keys=keys, revoked=(*before.revoked, name))

        await self._change(change, by, "revoke key", name)
        return {"id": name, "revoked": True}

    async def _change_tenant(self, name: str, body: bytes, by: str) -> Any:
        """Make a tenant, or change one."""
        given = _read(body, _TenantChange)
        if not _name(name):
            raise _RefusedError(
                bad_request("an id has 1 to 64 letters, digits, '-', '_' or '.'", "invalid_value", "id")
            )

        def change(before: Overlay) -> Overlay:
            known = {one.id: one for one in self.configured.tenants} | before.tenants
            tenant = known.get(name) or Tenant(id=name)
            return msgspec.structs.replace(
                before, tenants=before.tenants | {name: _make(lambda: msgspec.structs.replace(tenant, **_set(given)))}
            )

        await self._change(change, by, "set tenant", name, _encode(given).decode())
        return msgspec.to_builtins(self._tenant(name))

    async def _change(
        self, change: Callable[[Overlay], Overlay], by: str, what: str, target: str, detail: str = ""
    ) -> None:
        """On disk, then in force, then on record."""

        def checked(before: Overlay) -> Overlay:
            after = change(before)
            settings = _make(lambda: over(self.configured, after))
            if not self._local:
                now = self.svc.clock.now()
                had, have = _admins(over(self.configured, before), now), _admins(settings, now)
                if any(old and not new for old, new in zip(had, have, strict=True)):
                    why = (
                        "this is the last key with role 'admin' that lasts and works from anywhere; make another first"
                    )
                    raise _RefusedError(Refusal(409, why, "conflict"))
            return after

        after = await asyncio.to_thread(self.file.update, checked)
        self.svc.adopt(over(self.configured, after))
        self.svc.meter.record_action(by, what, target, detail)
        await asyncio.to_thread(self.svc.spool.totals)  # it sees all that was put before: the record is on disk

    def _key(self, name: str) -> Key:
        for key in self.svc.settings.keys:
            if key.id == name:
                return key
        raise _RefusedError(Refusal(404, f"no key {name!r}", "not_found"))

    def _tenant(self, name: str) -> Tenant:
        for tenant in self.svc.settings.tenants:
            if tenant.id == name:
                return tenant
        raise _RefusedError(Refusal(404, f"no tenant {name!r}", "not_found"))

    def _shown(self, key: Key) -> dict[str, Any]:
        """A key without its hash."""
        plain: dict[str, Any] = msgspec.to_builtins(key)
        del plain["sha256"]
        plain["configured"] = any(one.id == key.id for one in self.configured.keys)
        return plain

    # --- reading ------------------------------------------------------------------

    async def _usage(self, name: str, query: dict[str, str]) -> Any:
        """What a tenant used, by project, key and model: a page of it, and the sum of all."""
        self._tenant(name)
        now = self.svc.clock.now()
        since = _time(query, "since") or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        until = _time(query, "until") or now
        limit = _limit(query)
        await asyncio.to_thread(self.svc.spool.totals)  # it sees all that was put before: what is used is on disk
        found = await asyncio.to_thread(lambda: history.usage(self.folders(), name, since, until, now))
        if isinstance(found, Refusal):
            raise _RefusedError(found)
        lines, more = history.page(found.lines, query.get("after", ""), limit)
        return {
            "tenant": name,
            "since": since,
            "until": until,
            "complete_since": found.complete_since,
            "total": {one: sum(getattr(line, one) for line in found.lines) for one in history.NUMBERS},
            "data": lines,
            "has_more": more is not None,
            "next": more,
            "budgets": self._budgets(name),
        }

    def _budgets(self, tenant: str) -> list[dict[str, Any]]:
        """The tenant's budgets and, where they are not leased out in slices, what is left of them."""
        found = []
        for scope in self.svc.book.scopes.values():
            mine = scope.id == f"tenant:{tenant}" or scope.id.startswith(f"project:{tenant}/")
            if not mine or scope.purse is None:
                continue
            purse = scope.purse
            left = None if purse.leased else {"limit_nano_usd": purse.granted, "free_nano_usd": purse.free}
            found.append({"scope": scope.id, "period": scope.period, **(left or {})})
        return found

    async def _trail(self, query: dict[str, str]) -> Any:
        """Who did what, newest first: a page of it."""
        limit = _limit(query)
        found = await asyncio.to_thread(lambda: history.trail(self.folders(), query.get("before", ""), limit))
        if isinstance(found, Refusal):
            raise _RefusedError(found)
        data, more = found
        return {"data": data, "has_more": more is not None, "next": more}


def _limit(query: dict[str, str]) -> int:
    given = query.get("limit", str(history.MAX_PAGE))
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= history.MAX_PAGE):
        raise _RefusedError(bad_request(f"limit must be 1 to {history.MAX_PAGE}", "invalid_value", "limit"))
    return int(given)


# Who holds the key of a gateway whose configuration has none.
_LOCAL_ADMIN: Final = Account(
    Key(id="local-admin", sha256="0" * 64, tenant=OPEN_TENANT, role="admin"), Tenant(id=OPEN_TENANT), (), False,
    frozenset(), frozenset(), (), (),
)  # fmt: skip


def _admins(settings: Settings, now: datetime) -> tuple[int, int, int]:
    """How many keys may administer: now at all, now from anywhere, and from anywhere for ever. None of the three may
    fall to nothing by a change that one of them makes."""
    able = [key for key in settings.keys if key.role == "admin" and (key.expires is None or key.expires > now)]
    anywhere = [key for key in able if not key.networks]
    return len(able), len(anywhere), sum(key.expires is None for key in anywhere)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return read_json(body, kind, strict=False)
    except msgspec.DecodeError as error:
        field = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else None
        raise _RefusedError(bad_request(str(error), "invalid_value", field)) from error


def _make(make: Callable[[], T]) -> T:
    """What settings refuse, the caller is told."""
    try:
        return make()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise _RefusedError(bad_request(str(error), "invalid_value")) from error


def _set(given: msgspec.Struct) -> dict[str, Any]:
    found = {name: getattr(given, name) for name in given.__struct_fields__}
    return {name: value for name, value in found.items() if value is not msgspec.UNSET}


def _name(text: str) -> bool:
    return 0 < len(text) <= MAX_ID and all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)


def _time(query: dict[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    try:
        found = datetime.fromisoformat(query[name])
    except ValueError as error:
        raise _RefusedError(bad_request(f"{name} must be a time such as 2026-12-01T00:00:00Z", param=name)) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
