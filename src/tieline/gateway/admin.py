"""`/admin/...`: an operator's hand on a running gateway. Each change is a record of who did what and when.

Here: who may, and what stands at each path. `changes` makes the changes, `reading` and `metering.history` tell what
was used and done.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs, unquote

import msgspec

from tieline.gateway import errors
from tieline.gateway.budgets.admit import OPEN_TENANT, KeyAccount
from tieline.gateway.budgets.followed import ChangeAwayError
from tieline.gateway.budgets.keys import ADMIN_KEY_FILE, admin_key
from tieline.gateway.changes import ChangeRefusedError, Changes, read_form
from tieline.gateway.errors import Refusal
from tieline.gateway.metering import history
from tieline.gateway.reading import Csv, TenantReading, limit_of
from tieline.gateway.routing.route import State
from tieline.gateway.service import Service
from tieline.gateway.settings import Key, SettingsError, Tenant, hash_key
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.http1 import JSON_HEADERS, RequestHead, presented_key
from tieline.store import StoreError

_encode: Final = msgspec.json.Encoder().encode
# Who holds the key of a gateway whose configuration has none.
_LOCAL_ADMIN: Final = KeyAccount(
    Key(id="local-admin", sha256="0" * 64, tenant=OPEN_TENANT, role="admin"), Tenant(id=OPEN_TENANT), (), False,
    frozenset(), frozenset(), (), (),
)  # fmt: skip


class _State(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["draining", "ready"]


class _AskedOfAdmin(msgspec.Struct):
    """A request of these paths: the name in it, its body, who asks, its query."""

    name: str
    body: bytes
    by: str
    query: dict[str, str]


_Handler = Callable[["Admin", _AskedOfAdmin], Awaitable[Any]]


class Admin:
    """The paths under /admin."""

    def __init__(self, svc: Service, changes: Changes, folders: Callable[[], list[Path]]) -> None:
        """Raises OSError where the key of a gateway without keys cannot be kept."""
        self.svc, self.changes, self.folders = svc, changes, folders
        self.reading = TenantReading(svc, folders)
        # Where the configuration has no keys this one administers, whatever keys are made since.
        self._local = "" if changes.locked else hash_key(admin_key(changes.file.path.parent))

    def handle(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        """Called for every framed request of these paths."""
        account = self._who(head, connection.peer)
        if isinstance(account, Refusal):
            connection.refuse(account)
            return
        words = [unquote(one) for one in head.path.split("/")[2:]]
        if not self._may(account, head.method, words):
            connection.refuse(Refusal(403, "this needs a key with role 'admin'", "admin_only"))
            return
        connection.run(self._answer(connection, head, words, body, account))

    def _who(self, head: RequestHead, peer: str) -> KeyAccount | Refusal:
        """Always a key: a door that is open to requests is not open to changes."""
        given = presented_key(head) or b""
        if self._local and not self.changes.configured.keys and given[:7].lower() == b"bearer ":
            digest = hash_key(given[7:].strip().decode("latin-1"))
            if hmac.compare_digest(digest, self._local):
                return _LOCAL_ADMIN
        account = self.svc.book.identify(given or None, peer, self.svc.clock.now())
        if account is self.svc.book.open:
            where = self.changes.file.path.with_name(ADMIN_KEY_FILE)
            return Refusal(401, f"/admin needs the key in {where}, as 'Authorization: Bearer <key>'", "invalid_api_key")
        return account

    def reads_all(self, head: RequestHead, peer: str) -> bool:
        """Does this request show an admin's key?"""
        account = self._who(head, peer)
        return isinstance(account, KeyAccount) and account.key.role == "admin"

    def _may(self, account: KeyAccount, method: str, words: list[str]) -> bool:
        if account.key.role == "admin":
            return True
        own_usage = len(words) == 3 and words[0] == "tenants" and words[2] == "usage" and method in ("GET", "HEAD")
        return account.key.role == "billing" and own_usage and words[1] == account.key.tenant

    async def _answer(
        self, connection: ClientConnection, head: RequestHead, words: list[str], body: bytes, account: KeyAccount
    ) -> None:
        number = connection.request_id
        try:
            status, content = await self._do(head, words, body, account.key.id)
        except ChangeRefusedError as error:
            refusal: Refusal | None = error.refusal
        except ChangeAwayError as error:
            refusal = Refusal(503, str(error), "unavailable", retry_after_s=1)
        except (StoreError, OSError, SettingsError) as error:
            self.svc.log.error("%s", error)
            refusal = Refusal(503, "this cannot be read or written now", "unavailable", retry_after_s=5)
        else:
            refusal = None
        if connection.transport is None or connection.request_id != number:
            return
        if refusal is not None:
            if refusal.status == 405:
                connection.answer(405, refusal.headers() + b"allow: GET, POST, DELETE\r\n", refusal.body())
            else:
                connection.refuse(refusal)
        elif isinstance(content, Csv):
            connection.answer(status, Csv.HEADERS, content.text, head_only=head.method == "HEAD")
        else:
            connection.answer(status, JSON_HEADERS, _encode(content), head_only=head.method == "HEAD")

    async def _do(self, head: RequestHead, words: list[str], body: bytes, by: str) -> tuple[int, Any]:
        method = "GET" if head.method == "HEAD" else head.method
        query = {
            key: values[-1] for key, values in parse_qs(head.target.partition("?")[2], keep_blank_values=True).items()
        }
        path = (words[0], *("*" for _ in words[1:2]), *words[2:])
        handler = _PATHS.get((method, path))
        if handler is None:
            if any(path == known for _, known in _PATHS):
                raise ChangeRefusedError(Refusal(405, f"{head.method} is not offered here", "method_not_allowed"))
            raise ChangeRefusedError(errors.not_found(head.path))
        asked = _AskedOfAdmin(words[1] if len(words) > 1 else "", body, by, query)
        return 201 if (method, path) == ("POST", ("keys",)) else 200, await handler(self, asked)

    # --- reading and replicas ---------------------------------------------------------

    async def _replicas(self, asked: _AskedOfAdmin) -> Any:
        return {"data": self.svc.table.shown()}

    async def _turn(self, asked: _AskedOfAdmin) -> Any:
        """Drain a replica or take it back."""
        if asked.name not in self.svc.backends:
            raise ChangeRefusedError(errors.not_found(f"/admin/replicas/{asked.name}"))
        state = read_form(asked.body, _State).state
        return await self.changes.turn(asked.name, State(state), asked.by)

    async def _keys(self, asked: _AskedOfAdmin) -> Any:
        return {"data": [self.changes.shown(key) for key in self.svc.settings.keys]}

    async def _key(self, asked: _AskedOfAdmin) -> Any:
        return self.changes.shown(self.changes.key(asked.name))

    async def _tenants(self, asked: _AskedOfAdmin) -> Any:
        return {"data": [msgspec.to_builtins(one) for one in self.svc.settings.tenants]}

    async def _tenant(self, asked: _AskedOfAdmin) -> Any:
        return msgspec.to_builtins(self.changes.tenant(asked.name))

    async def _models(self, asked: _AskedOfAdmin) -> Any:
        return {"data": [msgspec.to_builtins(one) for one in self.svc.settings.models]}

    async def _engines(self, asked: _AskedOfAdmin) -> Any:
        return {"data": [msgspec.to_builtins(one) for one in self.svc.settings.engines]}

    async def _usage(self, asked: _AskedOfAdmin) -> Any:
        """What a tenant used, by project, key and model: a page of it, and the sum of all."""
        self.changes.tenant(asked.name)
        usage = await self.reading.usage(asked.name, asked.query)
        if isinstance(usage, Refusal):
            raise ChangeRefusedError(usage)
        if not isinstance(usage, Csv):
            usage["budgets"] = self._budgets(asked.name)
        return usage

    def _budgets(self, tenant: str) -> list[dict[str, Any]]:
        """The tenant's budgets and, where they are not leased out, what is left of them."""
        budgets = []
        for scope in self.svc.book.scopes.values():
            mine = scope.id == f"tenant:{tenant}" or scope.id.startswith(f"project:{tenant}/")
            if not mine or scope.budget is None:
                continue
            budget = scope.budget
            left = None if budget.leased else {"limit_nano_usd": budget.granted, "free_nano_usd": budget.free}
            budgets.append({"scope": scope.id, "period": scope.period, **(left or {})})
        return budgets

    async def _trail(self, asked: _AskedOfAdmin) -> Any:
        """Who did what, newest first: a page of it."""
        limit = limit_of(asked.query)
        if isinstance(limit, Refusal):
            raise ChangeRefusedError(limit)
        before = asked.query.get("before", "")
        deeds = await asyncio.to_thread(lambda: history.trail(self.folders(), before, limit))
        if isinstance(deeds, Refusal):
            raise ChangeRefusedError(deeds)
        data, more = deeds
        return {"data": data, "has_more": more is not None, "next": more}


# What stands at each path; "*" is a name.
_PATHS: Final[dict[tuple[str, tuple[str, ...]], _Handler]] = {
    ("GET", ("replicas",)): Admin._replicas,
    ("POST", ("replicas", "*")): Admin._turn,
    ("GET", ("keys",)): Admin._keys,
    ("POST", ("keys",)): lambda admin, asked: admin.changes.make_key(asked.body, asked.by),
    ("GET", ("keys", "*")): Admin._key,
    ("POST", ("keys", "*")): lambda admin, asked: admin.changes.change_key(asked.name, asked.body, asked.by),
    ("POST", ("keys", "*", "rotate")): lambda admin, asked: admin.changes.rotate(asked.name, asked.body, asked.by),
    ("DELETE", ("keys", "*")): lambda admin, asked: admin.changes.revoke(asked.name, asked.by),
    ("GET", ("tenants",)): Admin._tenants,
    ("GET", ("tenants", "*")): Admin._tenant,
    ("POST", ("tenants", "*")): lambda admin, asked: admin.changes.set_tenant(asked.name, asked.body, asked.by),
    ("DELETE", ("tenants", "*")): lambda admin, asked: admin.changes.delete_tenant(asked.name, asked.by),
    ("GET", ("tenants", "*", "usage")): Admin._usage,
    ("GET", ("models",)): Admin._models,
    ("POST", ("models", "*")): lambda admin, asked: admin.changes.set_model(asked.name, asked.body, asked.by),
    ("DELETE", ("models", "*")): lambda admin, asked: admin.changes.delete_model(asked.name, asked.by),
    ("GET", ("engines",)): Admin._engines,
    ("POST", ("engines", "*")): lambda admin, asked: admin.changes.set_engine(asked.name, asked.body, asked.by),
    ("DELETE", ("engines", "*")): lambda admin, asked: admin.changes.delete_engine(asked.name, asked.by),
    ("POST", ("reload",)): lambda admin, asked: admin.changes.reload(asked.by),
    ("GET", ("audit",)): Admin._trail,
}
