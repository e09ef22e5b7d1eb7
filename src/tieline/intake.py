"""What may come in at all: bytes of strangers become values here, or a `IntakeError` that says which and why.

Engines, sites, partners, browsers, files and clocks are strangers. Two things keep them out: types that cannot
hold a bad value (a time has a zone, a number is finite and within its unit's bounds, a text has a length), and
`read`, which turns whatever a decoder may throw at any bytes into one exception.

Knows no record and no wire. Bounds are far outside what happens and well inside what arithmetic survives: their
job is to stop nonsense, not to judge a reading.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

T = TypeVar("T")
W = TypeVar("W", bound=str)

# A message over the link; NATS takes 1 MB unless told otherwise.
MAX_MESSAGE = 1_000_000
# How far a sender's clock may be ahead of ours: NTP keeps seconds, and a machine without it drifts minutes a month.
CLOCK_AHEAD = timedelta(minutes=5)
# Moments that adding a few centuries to, or turning into another zone, cannot push off the calendar.
FIRST_MOMENT, LAST_MOMENT = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class IntakeError(ValueError):
    """What came is not let in; `field` is where (empty: the whole), `why` says what is wrong with it."""

    def __init__(self, why: str, field: str = "") -> None:
        self.why, self.field = why, field
        super().__init__(f"{field}: {why}" if field else why)


class Within(NamedTuple):
    """Marks a type whose values are checked by `check` when a struct is made: msgspec bounds no times or decimals."""

    check: Callable[[Any], str | None]


def _moment(value: datetime) -> str | None:
    if value.tzinfo is None:
        return "has no zone"
    if not FIRST_MOMENT <= value <= LAST_MOMENT:
        return f"{value.isoformat()} is not a time to reckon with"
    return None


def _money(value: Decimal) -> str | None:
    """Finite, at most 1e15, at most 20 places: what is exact can be added up without growing without end."""
    if not value.is_finite():
        return f"{value} is not a number"
    if not -20 <= int(value.as_tuple().exponent) <= 15 or abs(value) > 10**15:
        return f"{value:.3e} is out of bounds"
    return None


# --- types that cannot hold a bad value -------------------------------------------------

Time = Annotated[datetime, Meta(tz=True)]
# A time that is reckoned with (an end, a deadline), so that no sum with it may leave the calendar.
Moment = Annotated[datetime, Meta(tz=True), Within(_moment)]
Money = Annotated[Decimal, Within(_money)]

# What identifies something. The alphabet is checked at the gate (`spelt`), the length by the type.
Id = Annotated[str, Meta(min_length=1, max_length=200)]
# A word of a link's subject: a site's id, one alphabet with the configuration's.
Word = Annotated[str, Meta(min_length=1, max_length=63)]
# A name for people that is part of a key: anything that prints, but no bar, which joins the parts of keys.
Label = Annotated[str, Meta(max_length=2000)]
Text = Annotated[str, Meta(max_length=100_000)]

Watts = Annotated[float, Meta(ge=-1e12, le=1e12)]
WattHours = Annotated[float, Meta(ge=-1e15, le=1e15)]
WholeWattHours = Annotated[int, Meta(ge=-(10**15), le=10**15)]
UsdPerMwh = Annotated[float, Meta(ge=-1e6, le=1e6)]
Usd = Annotated[float, Meta(ge=-1e12, le=1e12)]
NanoUsd = Annotated[int, Meta(ge=-(10**18), le=10**18)]
Celsius = Annotated[float, Meta(ge=-273.15, le=1000)]
Hashrate = Annotated[float, Meta(ge=0, le=1e27)]
Difficulty = Annotated[float, Meta(ge=0, le=1e24)]
Sats = Annotated[int, Meta(ge=-21 * 10**14, le=21 * 10**14)]
Btc = Annotated[float, Meta(ge=0, le=21e6)]
Megawatts = Annotated[float, Meta(ge=-1e5, le=1e5)]
# One machine, as its maker rates it: a rack-sized hydro unit draws 11 kW.
Terahashes = Annotated[float, Meta(gt=0, le=10_000)]
RigWatts = Annotated[float, Meta(ge=50, le=100_000)]
# From one card in a desktop to a rack of 72.
NodeWatts = Annotated[float, Meta(ge=20, le=500_000)]
Machines = Annotated[int, Meta(ge=-1, le=10_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=0, le=1e6)]
Rate = Annotated[float, Meta(ge=0, le=1e15)]
# What is reckoned from others, such as a hashprice at the first block's difficulty: finite, and no more is asked.
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Figure = Annotated[float, Meta(ge=-1e15, le=1e15)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e12)]
# Ten years: a span of an interval, a bill or a contract's notice.
Seconds = Annotated[int, Meta(ge=0, le=320_000_000)]
# How long an interval is that something is a mean or a sum over: never nothing, for it is divided by.
IntervalSeconds = Annotated[int, Meta(ge=1, le=320_000_000)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Small = Annotated[int, Meta(ge=0, le=1_000_000)]
Status = Annotated[int, Meta(ge=0, le=999)]

# Tenants, projects and keys: their names are parts of paths, of files and of each other's.
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*")
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LABEL = re.compile(r"[^|\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_ALPHABETS: dict[object, tuple[re.Pattern[str], str]] = {
    Id: (_ID, "letters, digits and . _ : @ + -"),
    Word: (_WORD, "lower-case letters, digits, _ and -"),
    Label: (_LABEL, "anything that prints, except |"),
}


def spelt(kind: object, value: str) -> str | None:
    """What is wrong with the spelling of an `Id`, a `Word` or a `Label`; None: nothing."""
    alphabet = _ALPHABETS.get(kind)
    if alphabet is None or alphabet[0].fullmatch(value):
        return None
    return f"{value[:60]!r} is no name; use {alphabet[1]}"


def _printed(value: str) -> str | None:
    return spelt(Label, value)


# A name that somebody writes down once and every record then carries: checked where it is written.
Printed = Annotated[str, Meta(max_length=200), Within(_printed)]


def parts(kind: object) -> Iterator[object]:
    """The members of a union type, else the type itself."""
    if get_origin(kind) is None or hasattr(kind, "__metadata__") or not _is_union(kind):
        yield kind
    else:
        for one in get_args(kind):
            yield from parts(one)


def _is_union(kind: object) -> bool:
    return type(kind).__name__ in ("Union", "UnionType", "_UnionGenericAlias")


# --- structs whose fields are checked when they are made --------------------------------

Annotations = dict[str, Any]
Check = Callable[[Any], str | None]


class Checked(msgspec.StructMeta):
    """Makes a struct check its fields that are marked `Within`, also when it is decoded: ValueError names the field.

    Its module imports no `annotations` from `__future__`: types are looked at when the class is made.
    """

    hints: Annotations  # the types of all its fields

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        **config: Any,
    ) -> "Checked":
        hints = hints_of(bases, namespace)
        checks = list(_checks(hints))
        if checks:
            namespace["__post_init__"] = _checker(checks, namespace.get("__post_init__"))
        made = super().__new__(mcs, name, bases, namespace, **config)
        made.hints = hints
        return made


def hints_of(bases: tuple[type, ...], namespace: dict[str, Any]) -> Annotations:
    """The types of a class that is being made, its bases' included, as objects."""
    inherited = {field: kind for base in reversed(bases) for field, kind in getattr(base, "hints", {}).items()}
    if "__annotations__" in namespace:
        return inherited | dict(namespace["__annotations__"])
    make = namespace.get("__annotate_func__") or namespace.get("__annotate__")  # from Python 3.14 on
    return inherited if make is None else inherited | dict(make(1))


def one_of(words: Sequence[W], said: object) -> W | None:
    """The one of these words that was said, as its own type; None where it is none of them."""
    return next((word for word in words if word == said), None)


def _checks(hints: Annotations) -> Iterator[tuple[str, Check]]:
    for name, kind in hints.items():
        for one in parts(kind):
            for mark in getattr(one, "__metadata__", ()):
                if isinstance(mark, Within):
                    yield name, mark.check


def _checker(checks: list[tuple[str, Check]], own: Callable[[Any], None] | None) -> Callable[[Any], None]:
    def __post_init__(self: Any) -> None:  # noqa: N807 - becomes the method of that name
        for name, check in checks:
            value = getattr(self, name)
            if value is not None and (wrong := check(value)) is not None:
                raise ValueError(f"{name}: {wrong}")
        if own is not None:
            own(self)

    return __post_init__


# --- bytes -----------------------------------------------------------------------------


def read(data: bytes | str, decode: Callable[[bytes | str], T], most: int = MAX_MESSAGE) -> T:
    """What `decode` makes of bytes of a stranger. Raises IntakeError, and nothing else, whatever they are.

    `most` bounds the bytes before they are parsed. Nesting is bounded by the parser, which gives up before the
    stack does.
    """
    if len(data) > most:
        raise IntakeError(f"{len(data):,} bytes; at most {most:,} are read")
    try:
        return decode(data)
    except IntakeError:
        raise
    except msgspec.ValidationError as error:
        raise refusal(error) from error
    except RecursionError as error:
        raise IntakeError("nested too deeply") from error
    except (msgspec.MsgspecError, ValueError, OverflowError, ArithmeticError) as error:
        raise IntakeError(str(error) or type(error).__name__) from error


_any_json = msgspec.json.Decoder().decode


def read_json(data: bytes | str, most: int = MAX_MESSAGE) -> Any:
    """JSON of a stranger of any shape. Raises IntakeError, and nothing else."""
    return read(data, _any_json, most)


def refusal(error: msgspec.ValidationError) -> IntakeError:
    """The same error with its field named: msgspec writes "Expected ... - at `$.until`"."""
    why, located, path = str(error).partition(" - at `")
    return IntakeError(why, path.rstrip("`").removeprefix("$").lstrip(".")) if located else IntakeError(why)


_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


def items(data: bytes, most: int = MAX_MESSAGE) -> list[bytes]:
    """The members of a JSON list, each as its own bytes, however bad each may be. Raises IntakeError where the list
    itself cannot be made out."""
    try:
        return [bytes(one) for one in read(data, _items, most)]
    except IntakeError:
        return _cut(data, most)


def _cut(data: bytes, most: int) -> list[bytes]:
    """Cuts at the list's own commas without parsing what lies between them."""
    text = data.strip()
    if len(data) > most or not text.startswith(b"["):
        raise IntakeError("not a list" if len(data) <= most else f"{len(data):,} bytes; at most {most:,} are read")
    depth, start = 0, 1
    items: list[bytes] = []
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in b"[{":
            depth += 1
        elif word in b"]}":
            depth -= 1
        if depth == 0 or (depth == 1 and word == b","):
            items.append(text[start : token.start()].strip())
            start = token.end()
        if depth == 0:
            break
    if depth != 0 or text[start:].strip() or not text.endswith(b"]"):
        raise IntakeError("not a list of whole items")
    return items


def finite(value: float) -> bool:
    """False for nan and the infinities, which no quantity is."""
    return math.isfinite(value)
