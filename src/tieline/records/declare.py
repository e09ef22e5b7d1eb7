"""What a record's class line says: patterns of its fields become `subject` and `key`, marked types become checks."""

import string
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tieline.intake import Within, parts

_Annotations = dict[str, Any]


def _annotations(namespace: dict[str, Any]) -> _Annotations:
    """Of a class that is being made: objects, not strings, so its module imports no `annotations`. From Python 3.14
    on they are made when asked for."""
    if "__annotations__" in namespace:
        return dict(namespace["__annotations__"])
    make = namespace.get("__annotate_func__") or namespace.get("__annotate__")
    return {} if make is None else dict(make(1))


def _reader(pattern: str, hints: _Annotations) -> Callable[[Any], str]:
    """A function of a record that fills the pattern's fields in: times in ISO form, all else as text.

    Compiled, as dataclasses are: keys are read for each record that is stored, and a loop over the pattern takes three
    times as long."""
    source = ""
    for text, field, _, _ in string.Formatter().parse(pattern):
        source += text
        if field is not None:
            source += f"{{self.{field}.isoformat()}}" if _is_time(hints.get(field)) else f"{{self.{field}}}"
    made: Callable[[Any], str] = eval(f"lambda self: f{source!r}")
    return made


def _is_time(kind: object) -> bool:
    return getattr(kind, "__origin__", kind) is datetime


def _checks(hints: _Annotations) -> Iterator[tuple[str, Callable[[Any], str | None]]]:
    for field, kind in hints.items():
        for one in parts(kind):
            for mark in getattr(one, "__metadata__", ()):
                if isinstance(mark, Within):
                    yield field, mark.check


def _checker(checks: list[tuple[str, Callable[[Any], str | None]]]) -> Callable[[Any], None]:
    def __post_init__(self: Any) -> None:  # noqa: N807 - becomes the method of that name
        for field, check in checks:
            value = getattr(self, field)
            if value is not None and (wrong := check(value)) is not None:
                raise ValueError(f"{field}: {wrong}")

    return __post_init__


class RecordType(msgspec.StructMeta):
    """Makes `subject` and `key` of a record from the patterns in its class line, and its checks from its types."""

    hints: _Annotations  # the types of all its fields
    patterns: tuple[str, ...]  # of subject and key
    reach: timedelta

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        subject: str | None = None,
        key: str | None = None,
        reach: timedelta | None = None,
        **config: Any,
    ) -> "RecordType":
        own = _annotations(namespace)
        known = {field: kind for base in reversed(bases) for field, kind in getattr(base, "hints", {}).items()} | own
        for word, pattern in (("subject", subject), ("key", key)):
            if pattern is not None:
                namespace[word] = property(_reader(pattern, known))
        checks = list(_checks(known))
        if checks:
            namespace["__post_init__"] = _checker(checks)
        made = super().__new__(mcs, name, bases, namespace, **config)
        made.hints = known
        made.patterns = tuple(p for p in (subject, key) if p is not None) or getattr(bases[0], "patterns", ())
        made.reach = reach if reach is not None else getattr(bases[0], "reach", timedelta(0))
        return made
