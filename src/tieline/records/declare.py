"""What a record's class line says: patterns of its fields become `subject` and `key`."""

import string
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tieline.intake import Annotations, Checked, hints_of


def _reader(pattern: str, hints: Annotations) -> Callable[[Any], str]:
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


class RecordType(Checked):
    """Makes `subject` and `key` of a record from the patterns in its class line."""

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
        hints = hints_of(bases, namespace)
        for word, pattern in (("subject", subject), ("key", key)):
            if pattern is not None:
                namespace[word] = property(_reader(pattern, hints))
        made: RecordType = super().__new__(mcs, name, bases, namespace, **config)  # type: ignore[assignment]  # `type` names no subclass of itself
        made.patterns = tuple(p for p in (subject, key) if p is not None) or getattr(bases[0], "patterns", ())
        made.reach = reach if reach is not None else getattr(bases[0], "reach", timedelta(0))
        return made
