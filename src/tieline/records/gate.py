"""The gate for records from outside: each item of a batch is admitted or refused by itself.

What the types cannot say is said here: how far ahead of our clock a record may claim to be known, how far ahead a
record of its type may hold, and how the names are spelt that become keys and subjects. `known_at` orders all
knowledge, so a sender whose clock is wrong must not move it.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec

from tieline.intake import CLOCK_AHEAD, FIRST_MOMENT, MAX_MESSAGE, Id, IntakeError, Label, Word, items, parts, spelt
from tieline.records.base import Record
from tieline.records.codec import AnyRecord, encode, read_batch, read_record

T = TypeVar("T")

# A sender pushes 256 at once, and a message of a megabyte holds no more records than some thousands.
MOST_ITEMS = 4_000


class Accepted(NamedTuple):
    """A record that may be stored, its times in UTC."""

    place: int
    record: AnyRecord


class SetAside(NamedTuple):
    """An item that may not, and why. `ahead`: by how much its sender's clock is ahead, where that is the reason."""

    place: int
    body: bytes
    name: str
    why: str
    ahead: timedelta | None = None


class AheadError(IntakeError):
    """The sender's clock is further ahead of ours than may be."""

    def __init__(self, by: timedelta) -> None:
        self.by = by
        super().__init__(f"{by} ahead of this platform's clock; set the sender's", "known_at")


def admit(
    data: bytes, now: datetime, clock_ahead: timedelta = CLOCK_AHEAD, most: int = MAX_MESSAGE
) -> list[Accepted | SetAside]:
    """Every item of a JSON list of records, judged by itself, in its order. Raises IntakeError where the list itself
    cannot be made out."""
    try:
        batch = read_batch(data, most)
    except IntakeError:
        return [_one(index, body, now, clock_ahead) for index, body in enumerate(_few(items(data, most)))]
    _few(batch)
    admitted: list[Accepted | SetAside] = []
    bodies: list[bytes] | None = None
    for index, record in enumerate(batch):
        try:
            admitted.append(Accepted(index, checked(record, now, clock_ahead)))
        except IntakeError as error:
            bodies = bodies if bodies is not None else items(data, most)
            admitted.append(_aside(index, bodies[index], error))
    return admitted


def _few(batch: list[T]) -> list[T]:
    """Raises IntakeError where there are more than anybody honest sends: each that is refused is kept and told of."""
    if len(batch) > MOST_ITEMS:
        raise IntakeError(f"{len(batch):,} items at once; at most {MOST_ITEMS:,}, send them in pieces")
    return batch


def fit(batch: Sequence[Record], now: datetime) -> tuple[list[Record], list[SetAside]]:
    """Of records that were made here from what a feed said: those that can be stored, and the others by name."""
    good: list[Record] = []
    bad: list[SetAside] = []
    for place, record in enumerate(batch):
        try:
            line = encode(record)
            checked(read_record(line), now)
            good.append(record)
        except (ValueError, msgspec.MsgspecError, TypeError) as error:
            bad.append(SetAside(place, repr(record).encode(), type(record).__name__, str(error)))
    return good, bad


def checked(record: AnyRecord, now: datetime, clock_ahead: timedelta = CLOCK_AHEAD) -> AnyRecord:
    """The record, its times in UTC. Raises IntakeError for what no type can refuse."""
    if record.at.tzinfo is not UTC or record.known_at.tzinfo is not UTC:
        record = _in_utc(record)
    if record.known_at > now + clock_ahead:
        raise AheadError(record.known_at - now)
    if record.at > now + type(record).reach:
        raise IntakeError(f"{record.at.isoformat()} is too far ahead for a {type(record).__name__}", "at")
    if record.at < FIRST_MOMENT or record.known_at < FIRST_MOMENT:
        raise IntakeError(f"nothing is known from before {FIRST_MOMENT.year}", "at")
    names = _names(type(record))
    labels = "".join(names.labels_of(record))
    if not labels.isprintable() or "|" in labels:
        for field in names.labels:
            if (wrong := spelt(Label, getattr(record, field))) is not None:
                raise IntakeError(wrong, field)
    for field, kind in names.others:
        value = getattr(record, field)
        if value is not None and (kind, value) not in _SPELT:
            _spell(field, kind, value)
    return record


def _spell(field: str, kind: str, value: str) -> None:
    if (wrong := spelt(Id if kind == "id" else Word, value)) is not None:
        raise IntakeError(wrong, field)
    if len(_SPELT) >= MAX_SPELT:
        _SPELT.clear()
    _SPELT.add((kind, value))


# Sites and units are few and come again and again; a set finds them five times as fast as the pattern does.
MAX_SPELT = 20_000
_SPELT: set[tuple[str, str]] = set()


class _Names(NamedTuple):
    labels: tuple[str, ...]
    labels_of: Callable[[object], tuple[str, ...]]
    others: tuple[tuple[str, str], ...]


def _names(kind: type[Record]) -> _Names:
    """The fields of a type that are spelt in an alphabet; looked up once."""
    names = _KNOWN.get(kind)
    if names is None:
        fields = [(field, one) for field, hint in kind.hints.items() for one in parts(hint)]
        # Twice the first, so that the getter gives a tuple also of one.
        labels = ("source", *(field for field, one in fields if one == Label and None not in parts(kind.hints[field])))
        others = tuple((field, _KINDS[one]) for field, one in fields if one in _KINDS)
        names = _KNOWN[kind] = _Names(labels, attrgetter(*labels), others)
    return names


# Small words for the kinds: hashing a type's annotation costs more than the look-up saves.
_KINDS: dict[object, str] = {Id: "id", Word: "word"}
_KNOWN: dict[type[Record], _Names] = {}  # one entry per type of record


def _in_utc(record: AnyRecord) -> AnyRecord:
    """One moment, one key: a sender may write its own zone."""
    try:
        changes: dict[str, Any] = {
            field: value.astimezone(UTC)
            for field in type(record).__struct_fields__
            if isinstance(value := getattr(record, field), datetime)
        }
        return msgspec.structs.replace(record, **changes)
    except (OverflowError, ValueError) as error:
        raise IntakeError(str(error), "at") from error


def _one(place: int, body: bytes, now: datetime, clock_ahead: timedelta) -> Accepted | SetAside:
    try:
        return Accepted(place, checked(read_record(body), now, clock_ahead))
    except IntakeError as error:
        return _aside(place, body, error)


def _aside(place: int, body: bytes, error: IntakeError) -> SetAside:
    ahead = error.by if isinstance(error, AheadError) else None
    return SetAside(place, body, _name(body), str(error), ahead)


_TYPE = re.compile(rb'"type"\s*:\s*"(\w{1,40})"')


def _name(body: bytes) -> str:
    """What to call an item that is no record: the type it says it is, else its first letters."""
    said = _TYPE.search(body[:2000])
    return said[1].decode() if said is not None else ascii(body[:40].decode("utf-8", "replace"))
