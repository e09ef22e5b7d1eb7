"""Changes made at run time at any gateway, in one order for all of them: each has a number, one above the one before.

What is in force beside the configuration is kept entry by entry (`tenants`, `acme`) as text that nobody between two
gateways has to understand: what a newer version wrote is kept and passed on by an older one, which reads of it what it
knows. A change names the number that it was made on; where another was first it is made again on that.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from tieline.gateway.budgets.keys import Overlay
from tieline.gateway.settings import Engine, Key, Model, SettingsError, Tenant
from tieline.gateway.wire.decoding import json_reader, read_json

Parts = dict[str, dict[str, msgspec.Raw]]
# What a change sets, by part and name; null: the entry goes.
Patch = dict[str, dict[str, msgspec.Raw | None]]

# Fields of an overlay that have entries, those that are names alone, and the one that counts.
KINDS: Final[dict[str, type[Tenant | Key | Model | Engine]]] = {
    "tenants": Tenant, "keys": Key, "models": Model, "engines": Engine
}  # fmt: skip
NAMES: Final = ("revoked", "gone_tenants", "gone_models", "gone_engines", "held")
LOADS: Final = "loads"
# What never comes back: a change that would is one of somebody who had lost it.
FOR_EVER: Final = ("revoked", "gone_tenants")
# Of one change, and of the pieces that all of it is told in; a line of the coordinator's holds either.
MAX_PATCH: Final = 200_000
PIECE: Final = 240_000
# All of it, packed: 50,000 keys are 5 MB.
MAX_PACKED: Final = 12_000_000
MAX_UNPACKED: Final = 64_000_000

_TRUE: Final = msgspec.Raw(b"true")
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class InForce(msgspec.Struct, frozen=True):
    """All of it, as after the change of this number. 0: nothing was changed yet."""

    number: int = 0
    parts: Parts = {}


class NumberedChange(msgspec.Struct, frozen=True):
    """One change, as it is told to everybody."""

    number: int
    patch: Patch


_read_in_force = json_reader(InForce)


def patch_from(plain: Any) -> Patch:
    """As it came over the wire. Raises ValueError."""
    if not isinstance(plain, dict) or not all(isinstance(entries, dict) for entries in plain.values()):
        raise ValueError("a change names parts, and entries in them")
    return {
        part: {name: None if entry is None else msgspec.Raw(_encode(entry)) for name, entry in entries.items()}
        for part, entries in plain.items()
    }


def patched(parts: Parts, patch: Patch) -> Parts:
    """What is in force after a change."""
    after = {part: dict(entries) for part, entries in parts.items()}
    for part, entries in patch.items():
        into = after.setdefault(part, {})
        for name, entry in entries.items():
            if entry is None:
                into.pop(name, None)
            else:
                into[name] = msgspec.Raw(bytes(entry))  # it may be a part of a longer text, which it would keep
    return after


def pack(state: InForce) -> bytes:
    """For the store, the disk and the wire."""
    return zlib.compress(_encode(state), 1)


def unpack(body: bytes) -> InForce:
    """Raises SettingsError."""
    unzip = zlib.decompressobj()
    try:
        text = unzip.decompress(body, MAX_UNPACKED)
        if not unzip.eof:
            raise SettingsError("the changes made at run time are cut short or too long")
        return _read_in_force(text)
    except (zlib.error, msgspec.DecodeError) as error:
        raise SettingsError(f"the changes made at run time cannot be read: {error}") from error


# --- as the gateway of a version understands it -----------------------------------------------


def overlay_of(parts: Parts) -> tuple[Overlay, list[str]]:
    """What this version reads, and a line for each entry that it does not understand whole. A key that cannot be
    understood at all is refused, a tenant gone: a guess might let in whom somebody shut out."""
    lines: list[str] = []
    fields: dict[str, Any] = {name: set(parts.get(name, {})) for name in NAMES}
    for part, kind in KINDS.items():
        made = fields[part] = {}
        for name, entry in parts.get(part, {}).items():
            try:
                made[name] = _understood(entry, kind, f"{part} {name}", lines)
            except msgspec.DecodeError as error:
                lines.append(f"{part} {name}: {error}")
                if part in ("keys", "tenants"):
                    fields["revoked" if part == "keys" else "gone_tenants"].add(name)
    loads = parts.get(LOADS, {}).get("count", msgspec.Raw(b"0"))
    fields[LOADS] = read_json(loads, int) if bytes(loads).isdigit() else 0
    whole: dict[str, Any] = {name: tuple(sorted(v)) if isinstance(v, set) else v for name, v in fields.items()}
    return Overlay(**whole), lines


def _understood(entry: msgspec.Raw, kind: type[Any], where: str, lines: list[str]) -> Any:
    try:
        return read_json(entry, kind, strict=False)
    except msgspec.DecodeError as error:
        plain = read_json(entry)
        known = _known(plain, msgspec.inspect.type_info(kind))
        if known == plain:
            raise
        lines.append(f"{where}: {error}; a newer version wrote it, and what this one knows of it holds")
        return read_json(_encode(known), kind, strict=False)


def _known(plain: Any, info: Any) -> Any:
    """Without the fields that this version does not have."""
    if isinstance(info, msgspec.inspect.UnionType):
        fits = [one for one in info.types if isinstance(one, msgspec.inspect.StructType)]
        return _known(plain, fits[0]) if fits and isinstance(plain, dict) else plain
    if isinstance(info, msgspec.inspect.StructType) and isinstance(plain, dict):
        fields = {field.encode_name: field.type for field in info.fields}
        return {name: _known(value, fields[name]) for name, value in plain.items() if name in fields}
    if isinstance(info, msgspec.inspect.VarTupleType) and isinstance(plain, list):
        return [_known(one, info.item_type) for one in plain]
    return plain


def patch_of(parts: Parts, before: Overlay, after: Overlay) -> Patch:
    """The change from one overlay to the other. Fields of an entry that this version does not know stay."""
    patch: Patch = {}
    for part, kind in KINDS.items():
        was, now = getattr(before, part), getattr(after, part)
        changed: dict[str, msgspec.Raw | None] = dict.fromkeys(was.keys() - now.keys())
        for name, entry in now.items():
            if was.get(name) != entry:
                changed[name] = _with_unknown(parts.get(part, {}).get(name), entry, kind)
        patch[part] = changed
    for part in NAMES:
        was, now = set(getattr(before, part)), set(getattr(after, part))
        patch[part] = {**dict.fromkeys(was - now), **dict.fromkeys(now - was, _TRUE)}
    if after.loads != before.loads:
        patch[LOADS] = {"count": msgspec.Raw(_encode(after.loads))}
    return {part: entries for part, entries in patch.items() if entries}


def _with_unknown(was: msgspec.Raw | None, entry: msgspec.Struct, kind: type[msgspec.Struct]) -> msgspec.Raw:
    plain = read_json(was) if was is not None else {}
    unknown = {name: value for name, value in plain.items() if name not in kind.__struct_fields__}
    return msgspec.Raw(_encode({**unknown, **msgspec.to_builtins(entry)}))


def lacking(mine: Parts, theirs: Parts, parts: tuple[str, ...]) -> Patch:
    """Entries of these parts that one has and the other does not."""
    patch: Patch = {}
    for part in parts:
        more = {name: entry for name, entry in mine.get(part, {}).items() if name not in theirs.get(part, {})}
        if more:
            patch[part] = dict(more)
    return patch


def pieces(patch: Patch) -> Iterator[Patch]:
    """A large change as several."""
    piece: Patch = {}
    size = 0
    for part, entries in patch.items():
        for name, entry in entries.items():
            length = len(name) + (0 if entry is None else len(bytes(entry))) + 16
            if piece and size + length > MAX_PATCH // 2:
                yield piece
                piece, size = {}, 0
            piece.setdefault(part, {})[name] = entry
            size += length
    if piece:
        yield piece


# --- the coordinator's side -------------------------------------------------------------------


class OrderedChanges:
    """Of the coordinator that leads. `keep` writes all of it down, before a change is told, and raises OSError; `take`
    hears what is in force after it."""

    def __init__(self, state: InForce, keep: Callable[[bytes], None], take: Callable[[Parts], None]) -> None:
        self.state, self._keep, self._take = state, keep, take
        self._packed: bytes | None = None

    @property
    def number(self) -> int:
        return self.state.number

    def propose(self, base: int, patch: Patch, above: int = 0) -> NumberedChange | None:
        """None: `base` is not the newest; make the change again. `above`: numbers up to here were given by a store that
        has lost them. Raises OSError where it cannot be written down: nothing was changed then."""
        if base != self.number:
            return None
        state = InForce(max(base, above) + 1, patched(self.state.parts, patch))
        packed = pack(state)
        if len(packed) > MAX_PACKED:
            raise OSError(f"all changes together have {len(packed):,} bytes, at most {MAX_PACKED:,} are kept")
        self._keep(packed)
        self.state, self._packed = state, packed
        self._take(state.parts)
        return NumberedChange(state.number, patch)

    def piece(self, offset: int) -> dict[str, Any]:
        """All of it, from that byte on."""
        if self._packed is None:
            self._packed = pack(self.state)
        body = self._packed[offset : offset + PIECE]
        return {"number": self.number, "size": len(self._packed), "body": base64.b64encode(body).decode()}
