"""What an operator changes while the gateway runs: keys, tenants, models, engines, and the configuration itself.

A change is checked against all that is in force, written to disk (`budgets.keys`; with gateways on other machines to
the store that they share, `budgets.followed`), taken over here at once and elsewhere within a second, and put on
record. What cannot be is refused whole, and what was in force stays.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec

from tieline.gateway.budgets.followed import FollowedChanges
from tieline.gateway.budgets.keys import Overlay, OverlayFile, over
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.routing.route import State
from tieline.gateway.service import Service
from tieline.gateway.settings import (
    Engine,
    Former,
    Key,
    Limits,
    Model,
    Patience,
    Project,
    Role,
    Settings,
    SettingsError,
    Tenant,
    hash_key,
)
from tieline.gateway.wire.decoding import read_json

# How long the secret before stays valid where nobody says, and at most; and how many of them.
OVERLAP_S: Final = 86_400
MAX_OVERLAP_S: Final = 90 * 86_400
MAX_FORMER: Final = 8
# What a running process does not change: its socket, its connections to others, memory that is laid out at start.
FIXED: Final = (
    "host", "port", "tls_cert", "tls_key", "coordination", "otel", "kept_bytes", "queue_length", "hedge_share",
    "access_log",
)  # fmt: skip

T = TypeVar("T")
_encode: Final = msgspec.json.Encoder().encode


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    tenant: str
    id: str = ""
    project: str = "default"
    models: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expires: datetime | None = None
    role: Role = "user"
    limits: Limits = Limits()


class KeyChange(msgspec.Struct, forbid_unknown_fields=True):
    models: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    regions: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    networks: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    expires: datetime | msgspec.UnsetType | None = msgspec.UNSET
    limits: Limits | msgspec.UnsetType = msgspec.UNSET


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    overlap_s: int = OVERLAP_S


class TenantChange(msgspec.Struct, forbid_unknown_fields=True):
    limits: Limits | msgspec.UnsetType = msgspec.UNSET
    projects: tuple[Project, ...] | msgspec.UnsetType = msgspec.UNSET
    weight: float | msgspec.UnsetType = msgspec.UNSET
    latency_class: Patience | msgspec.UnsetType = msgspec.UNSET
    regions: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    max_usd_per_mtok: float | msgspec.UnsetType | None = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


class ChangeRefusedError(Exception):
    """What is asked cannot be."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def wrong(why: str, param: str | None = None) -> ChangeRefusedError:
    """What was given cannot be meant."""
    return ChangeRefusedError(bad_request(why, "invalid_value", param))


def conflict(why: str, param: str | None = None) -> ChangeRefusedError:
    """It could be, and does not go with what is."""
    return ChangeRefusedError(Refusal(409, why, "conflict", param=param))


class Changes:
    """Of one process. `configured` is what the configuration said, without what was changed since."""

    def __init__(
        self,
        svc: Service,
        file: OverlayFile,
        configured: Settings,
        load: Callable[[], Settings] | None = None,
        shared: FollowedChanges | None = None,
    ) -> None:
        """`load` reads the configuration anew; None: there is none to read. `shared`: with the gateways of other
        machines: changes are made in their one order, and theirs are taken over. Raises SettingsError."""
        self.svc, self.file, self.configured, self.load, self.shared = svc, file, configured, load, shared
        self.on_adopt: Callable[[Settings], None] = lambda _: None
        self.locked = bool(configured.keys)  # nobody administers but by a key of the settings
        self._overlay = file.read() if shared is None else shared.overlay
        self._loads = self._overlay.loads
        if shared is not None:
            shared.adopt = self.take_over
        self._fault = ""

    async def refresh(self) -> None:
        """Once a second: take over what another process of this gateway changed."""
        if self.shared is not None or not self.file.changed():
            return
        try:
            overlay = self.file.read()
        except SettingsError as error:
            self._say(f"{error}; what was read before stands")
            return
        await self.take_over(overlay)

    async def take_over(self, overlay: Overlay) -> None:
        """What was changed elsewhere. A configuration that cannot be read holds up nothing else: a key that was revoked
        meanwhile is revoked here too."""
        if overlay.loads != self._loads:
            self._loads = overlay.loads
            try:
                fresh, _ = await self._loaded()
                over(fresh, overlay)
                self.configured = fresh
            except (ValueError, ChangeRefusedError) as error:
                self._say(error.refusal.message if isinstance(error, ChangeRefusedError) else str(error))
        try:
            self._adopt(overlay)
            self._fault = ""
        except ValueError as error:
            self._say(f"{error}; what was read before stands, but for what was taken away")
            self._adopt(_only_taken_away(self._overlay, overlay))

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            self.svc.log.error("%s", fault)
        self._fault = fault

    def _adopt(self, overlay: Overlay) -> None:
        settings = over(self.configured, overlay)
        self._overlay = overlay
        self.svc.adopt(settings)
        self.on_adopt(settings)
        self.svc.table.hold(frozenset(overlay.held))

    async def turn(self, name: str, state: State, by: str) -> Any:
        """Drain a replica, in every process, or take it back."""

        def change(before: Overlay) -> Overlay:
            held = {*before.held, name} if state is State.DRAINING else {*before.held} - {name}
            return msgspec.structs.replace(before, held=tuple(sorted(held)))

        await self._change(change, by, f"replica {state.value}", name)
        return {"id": name, "state": state.value}

    # --- keys -----------------------------------------------------------------------

    async def make_key(self, body: bytes, by: str) -> Any:
        given = read_form(body, NewKey)
        if not any(one.id == given.tenant for one in self.svc.settings.tenants):
            raise wrong(f"there is no tenant {given.tenant!r}; make it first", "tenant")
        secret = _new_secret()
        id_ = given.id or f"key-{secrets.token_hex(6)}"
        plain = {name: getattr(given, name) for name in NewKey.__struct_fields__ if name != "id"}
        key = made(lambda: Key(id=id_, sha256=hash_key(secret), **plain))

        def change(before: Overlay) -> Overlay:
            known = {one.id for one in self.configured.keys} | before.keys.keys() | set(before.revoked)
            if id_ in known:  # also a revoked one: usage is kept under its name
                raise conflict(f"there is a key {id_!r} already", "id")
            return msgspec.structs.replace(before, keys=before.keys | {id_: key})

        await self._change(change, by, "make key", id_, f"tenant {key.tenant}, role {key.role}")
        return {"key": secret, **self.shown(key)}

    async def change_key(self, name: str, body: bytes, by: str) -> Any:
        given = read_form(body, KeyChange)
        await self._with_key(name, lambda key: msgspec.structs.replace(key, **_given(given)), by, "change key", given)
        return self.shown(self.key(name))

    async def rotate(self, name: str, body: bytes, by: str) -> Any:
        """A new secret; the one before stays valid for a while. Asked twice, because the answer was lost, it gives
        another new one, and all that were valid stay so for their time."""
        given = read_form(body or b"{}", Rotation)
        if not 0 <= given.overlap_s <= MAX_OVERLAP_S:
            raise wrong(f"overlap_s must be 0 to {MAX_OVERLAP_S}", "overlap_s")
        secret, now = _new_secret(), self.svc.clock.now()

        def change(key: Key) -> Key:
            valid = [one for one in key.former if one.until > now]
            if given.overlap_s:
                valid.append(Former(sha256=key.sha256, until=now + timedelta(seconds=given.overlap_s)))
            if len(valid) > MAX_FORMER:
                why = f"{MAX_FORMER} secrets of this key are still valid; wait until one is not, or give overlap_s = 0"
                raise conflict(why)
            return msgspec.structs.replace(key, sha256=hash_key(secret), former=tuple(valid))

        await self._with_key(name, change, by, "rotate key", given)
        return {"key": secret, **self.shown(self.key(name))}

    async def _with_key(
        self, name: str, change: Callable[[Key], Key], by: str, what: str, given: msgspec.Struct
    ) -> None:
        def changed(before: Overlay) -> Overlay:
            key = before.keys.get(name) or self.key(name)
            return msgspec.structs.replace(before, keys=before.keys | {name: made(lambda: change(key))})

        await self._change(changed, by, what, name, _encode(given).decode())

    async def revoke(self, name: str, by: str) -> Any:
        self.key(name)

        def change(before: Overlay) -> Overlay:
            if name in before.revoked:
                return before
            keys = {id_: key for id_, key in before.keys.items() if id_ != name}
            return msgspec.structs.replace(before, keys=keys, revoked=(*before.revoked, name))

        await self._change(change, by, "revoke key", name)
        return {"id": name, "revoked": True}

    # --- tenants ---------------------------------------------------------------------

    async def set_tenant(self, name: str, body: bytes, by: str) -> Any:
        """Make a tenant, or change one."""
        given = read_form(body, TenantChange)

        def change(before: Overlay) -> Overlay:
            if name in before.gone_tenants:
                raise conflict(f"tenant {name!r} was deleted; its name stays with its usage")
            known = {one.id: one for one in self.configured.tenants} | before.tenants
            tenant = known.get(name) or made(lambda: Tenant(id=name))
            new = made(lambda: msgspec.structs.replace(tenant, **_given(given)))
            return _with(before, "tenants", name, new)

        await self._change(change, by, "set tenant", name, _encode(given).decode())
        return msgspec.to_builtins(self.tenant(name))

    async def delete_tenant(self, name: str, by: str) -> Any:
        """With its keys; what it used stays on record under its name, which is not given again."""
        self.tenant(name)
        await self._change(lambda before: _without(before, "tenants", name), by, "delete tenant", name)
        return {"id": name, "deleted": True}

    # --- models and engines -------------------------------------------------------------

    async def set_model(self, name: str, body: bytes, by: str) -> Any:
        """Offer a model, or change what is said of one: only the fields that are given."""
        given = read_form(body, dict[str, Any])

        def change(before: Overlay) -> Overlay:
            known = {one.name: one for one in self.configured.models} | before.models
            return _with(before, "models", name, _merged(known.get(name), given | {"name": name}, Model))

        await self._change(change, by, "set model", name, _encode(given).decode()[:1_000])
        return msgspec.to_builtins(_found(self.svc.settings.models, "model", name))

    async def delete_model(self, name: str, by: str) -> Any:
        _found(self.svc.settings.models, "model", name)

        def change(before: Overlay) -> Overlay:
            after = _without(before, "models", name)
            if not made(lambda: over(self.configured, after)).models:  # without any, all that engines serve is free
                raise conflict("this is the last model on offer; offer another first")
            return after

        await self._change(change, by, "delete model", name)
        return {"name": name, "deleted": True}

    async def set_engine(self, name: str, body: bytes, by: str) -> Any:
        """Add an engine, or change one; one that changes is drained and asked anew."""
        given = read_form(body, dict[str, Any])
        secrets_known = {one.key_env for one in self.configured.engines} | {""}
        if given.get("key_env", "") not in secrets_known:  # else an admin could have any secret sent anywhere
            raise wrong("key_env may name what the configuration's engines name; add it there", "key_env")

        def change(before: Overlay) -> Overlay:
            known = {one.name: one for one in self.configured.engines} | before.engines
            return _with(before, "engines", name, _merged(known.get(name), given | {"id": name}, Engine))

        await self._change(change, by, "set engine", name, _encode(given).decode()[:1_000])
        return msgspec.to_builtins(_found(self.svc.settings.engines, "engine", name))

    async def delete_engine(self, name: str, by: str) -> Any:
        """Its streams move to others."""
        _found(self.svc.settings.engines, "engine", name)
        await self._change(lambda before: _without(before, "engines", name), by, "delete engine", name)
        return {"id": name, "deleted": True}

    # --- the configuration ----------------------------------------------------------------

    async def reload(self, by: str) -> Any:
        """Read the configuration anew, in every process; what is wrong with it is told, and nothing changes."""
        fresh, fixed = await self._loaded()

        def change(before: Overlay) -> Overlay:
            made(lambda: over(fresh, before))
            return msgspec.structs.replace(before, loads=before.loads + 1)

        previous, self.configured = self.configured, fresh
        try:
            after = await self._change(change, by, "reload", "configuration")
        except BaseException:
            self.configured = previous
            raise
        self._loads = after.loads
        return {"reloaded": True, "after_restart": fixed}

    async def hang_up(self) -> None:
        """SIGHUP: the same, and what is wrong goes to the log."""
        try:
            answer = await self.reload("signal")
            self.svc.log.warning(
                "the configuration was read anew; after a restart: %s", answer["after_restart"] or "none"
            )
        except ChangeRefusedError as error:
            self.svc.log.error("%s", error.refusal.message)

    async def _loaded(self) -> tuple[Settings, list[str]]:
        """(the configuration as it is now, what of it holds after a restart only). Raises ChangeRefusedError."""
        if self.load is None:
            raise conflict("this gateway was started without a configuration to read")
        try:
            fresh = await asyncio.to_thread(self.load)
        except (ValueError, OSError) as error:
            why = f"{error}; what was read before stands"
            raise ChangeRefusedError(bad_request(why, "invalid_configuration")) from error
        if self.locked and not fresh.keys:
            raise ChangeRefusedError(
                bad_request("the configuration has no keys any more; start the gateway anew to open it")
            )
        old = self.svc.settings
        fixed = [name for name in FIXED if getattr(fresh, name) != getattr(old, name)]
        return msgspec.structs.replace(fresh, **{name: getattr(old, name) for name in FIXED}), fixed

    # --- how a change is made ---------------------------------------------------------------

    async def _change(
        self, change: Callable[[Overlay], Overlay], by: str, what: str, target: str, detail: str = ""
    ) -> Overlay:
        """On disk, then in force, then on record."""

        def checked(before: Overlay) -> Overlay:
            after = change(before)
            settings = made(lambda: over(self.configured, after))
            if self.locked:
                now = self.svc.clock.now()
                had, have = _admins(self.svc.settings, now), _admins(settings, now)
                if any(old and not new for old, new in zip(had, have, strict=True)):
                    why = "this is the last lasting key with role 'admin' without networks; make another first"
                    raise conflict(why)
            return after

        if self.shared is not None:
            after = await self.shared.update(checked)  # it is taken over there, in turn
        else:
            after = await asyncio.to_thread(self.file.update, checked)
            self._adopt(after)
        self.svc.meter.record_action(by, what, target, detail)
        await asyncio.to_thread(self.svc.spool.totals)  # it sees all that was put before: the record is on disk
        return after

    def key(self, name: str) -> Key:
        return _found(self.svc.settings.keys, "key", name)

    def tenant(self, name: str) -> Tenant:
        return _found(self.svc.settings.tenants, "tenant", name)

    def shown(self, key: Key) -> dict[str, Any]:
        """A key without its hashes."""
        plain: dict[str, Any] = msgspec.to_builtins(key)
        del plain["sha256"]
        plain["former"] = [one.until for one in key.former]
        plain["configured"] = any(one.id == key.id for one in self.configured.keys)
        return plain


def _only_taken_away(before: Overlay, after: Overlay) -> Overlay:
    """What stood before, without the keys and tenants that are gone: nobody is let in whom somebody shut out."""
    gone = {name: getattr(after, name) for name in ("revoked", "gone_tenants")}
    tenants = {name: one for name, one in before.tenants.items() if name not in after.gone_tenants}
    return msgspec.structs.replace(before, tenants=tenants, **gone)


def _admins(settings: Settings, now: datetime) -> tuple[int, int, int]:
    """How many keys may administer: now at all, now from anywhere, and from anywhere for ever. None of the three may
    fall to nothing by a change that one of them makes."""
    closed = {tenant.id for tenant in settings.tenants if tenant.disabled}
    keys = [key for key in settings.keys if key.role == "admin" and key.tenant not in closed]
    able = [key for key in keys if key.expires is None or key.expires > now]
    anywhere = [key for key in able if not key.networks]
    return len(able), len(anywhere), sum(key.expires is None for key in anywhere)


N = TypeVar("N", Key, Tenant, Model, Engine)


def _found(all_: tuple[N, ...], what: str, name: str) -> N:
    for one in all_:
        if (one.name if isinstance(one, Model | Engine) else one.id) == name:
            return one
    raise ChangeRefusedError(Refusal(404, f"no {what} {name!r}", "not_found"))


def _merged(before: msgspec.Struct | None, given: dict[str, Any], kind: type[T]) -> T:
    """The struct with the fields that are given."""
    plain: dict[str, Any] = {} if before is None else msgspec.to_builtins(before)
    return made(lambda: msgspec.convert(plain | given, kind, strict=False))


# What of an overlay is set and taken away, by its field; `gone_` before it: what was taken away.
OverlayPart = Literal["tenants", "models", "engines"]


def _with(before: Overlay, part: OverlayPart, name: str, new: Tenant | Model | Engine) -> Overlay:
    gone = tuple(one for one in getattr(before, f"gone_{part}") if one != name)
    return msgspec.structs.replace(before, **{part: getattr(before, part) | {name: new}, f"gone_{part}": gone})


def _without(before: Overlay, part: OverlayPart, name: str) -> Overlay:
    left = {id_: one for id_, one in getattr(before, part).items() if id_ != name}
    gone = tuple({*getattr(before, f"gone_{part}"), name})
    return msgspec.structs.replace(before, **{part: left, f"gone_{part}": gone})


def _new_secret() -> str:
    return f"sk-{secrets.token_urlsafe(32)}"


def _given(form: msgspec.Struct) -> dict[str, Any]:
    fields = {name: getattr(form, name) for name in form.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def read_form(body: bytes, kind: type[T]) -> T:
    """Raises ChangeRefusedError naming the field."""
    try:
        return read_json(body, kind, strict=False)
    except msgspec.DecodeError as error:
        field = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else None
        raise wrong(str(error), field) from error


def made(make: Callable[[], T]) -> T:
    """What settings refuse, the caller is told."""
    try:
        return make()
    except (ValueError, TypeError, ArithmeticError) as error:  # a SettingsError is a ValueError
        raise wrong(str(error)) from error
