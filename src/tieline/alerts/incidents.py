"""From lines that need a person to incidents: one message for one incident, however often and wherever it flaps. Pure.

An incident is one kind of trouble ("not heard"), at however many sites. It is raised when its lines have stood for
`raise_after_s`, worsens when a warning becomes bad, escalates when nobody has acknowledged it for `escalate_after_s`,
and ends when no line has stood for `clear_after_s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

Level = Literal["bad", "warn", "note"]
State = Literal["pending", "open", "acknowledged", "ended"]
Event = Literal["raised", "worse", "escalated", "ended"]

# Troubles of one kind at once; more than this is one trouble of the platform itself.
MOST_INCIDENTS: Final = 500
# Places that a message names; the others are counted.
NAMED: Final = 8


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. A flap shorter than `raise_after_s` is nothing; a gap shorter than `clear_after_s` is no end."""

    raise_after_s: float = 10.0
    clear_after_s: float = 120.0
    escalate_after_s: float = 900.0


class IncidentLine(msgspec.Struct, frozen=True):
    """One line of what needs a person, as the console tells it."""

    level: Level
    what: str
    text: str = ""
    site: str = ""


class Incident(msgspec.Struct, kw_only=True):
    """One kind of trouble from its first line to its end. Times are seconds since 1970."""

    key: str
    level: Level
    text: str
    places: list[str]
    state: State
    first: float
    last: float
    opened: float | None = None
    ended: float | None = None
    acknowledged_by: str = ""
    escalated: bool = False
    flaps: int = 0
    owner: str = ""
    runbook: str = ""
    # Digests of one-time links with which somebody may take it; none once it is taken.
    links: list[str] = []

    @property
    def id(self) -> str:
        """Of this one, among all of its kind."""
        return f"{self.key}|{self.first:.3f}"


class Notice(msgspec.Struct, frozen=True):
    """What channels are told: the event, and the incident at that moment."""

    event: Event
    what: str
    level: Level
    text: str
    places: tuple[str, ...]
    at: float
    since: float
    owner: str = ""
    runbook: str = ""
    link: str = ""

    @property
    def words(self) -> str:
        """One line for a telephone's screen."""
        more = len(self.places) - NAMED
        named = ", ".join(self.places[:NAMED]) + (f" and {more} more" if more > 0 else "")
        head = {"raised": "", "worse": "Worse: ", "escalated": "Nobody has taken this: ", "ended": "Over: "}[self.event]
        where = f" ({named})" if named else ""
        return f"{head}{self.what}{where}" + (f": {self.text}" if self.text and self.event != "ended" else "")

    @property
    def message(self) -> str:
        """The same with whose it is, and where it is taken and looked up."""
        more = (("Whose", self.owner), ("Take it", self.link), ("Runbook", self.runbook))
        return "\n".join([self.words, *(f"{name}: {text}" for name, text in more if text)])


_WORSE: Final[Mapping[str, int]] = {"note": 0, "warn": 1, "bad": 2}


class Incidents:
    """All incidents that have not ended."""

    def __init__(self, timing: Timing, known: Iterable[Incident] = ()) -> None:
        self.timing = timing
        self.now: dict[str, Incident] = {one.key: one for one in known if one.state != "ended"}

    def step(self, lines: Iterable[IncidentLine], now: float) -> tuple[list[Notice], list[Incident]]:
        """What to tell, and the incidents that changed: whoever starts anew with these tells nothing again. Notes are
        never told."""
        notices: list[Notice] = []
        changed: list[Incident] = []
        by_key: dict[str, list[IncidentLine]] = {}
        for line in lines:
            if line.level != "note":
                by_key.setdefault(line.what, []).append(line)
        for what, group in list(by_key.items())[:MOST_INCIDENTS]:
            before = self.now.get(what)
            shown = None if before is None else _kept_of(before)
            incident, event = self._stands(what, group, now)
            if event is not None:
                notices.append(_notice(event, incident, now))
            if shown != _kept_of(incident):
                changed.append(incident)
        for key, incident in list(self.now.items()):
            if key not in by_key and now - incident.last >= self.timing.clear_after_s:
                del self.now[key]
                was_open = incident.opened is not None
                incident.state, incident.ended = "ended", now
                changed.append(incident)
                if was_open:
                    notices.append(_notice("ended", incident, now))
            elif key not in by_key and incident.state == "pending":
                del self.now[key]  # it never stood long enough to be one
        return notices, changed

    def _stands(self, what: str, group: list[IncidentLine], now: float) -> tuple[Incident, Event | None]:
        level: Level = "bad" if any(line.level == "bad" for line in group) else "warn"
        places = sorted({line.site for line in group if line.site})
        incident = self.now.get(what)
        if incident is None:
            incident = self.now[what] = Incident(
                key=what, level=level, text=group[0].text, places=places, state="pending", first=now, last=now
            )
        elif now - incident.last > 2 * self.timing.raise_after_s:
            incident.flaps += 1
        worse = incident.state != "pending" and _WORSE[level] > _WORSE[incident.level]
        incident.text, incident.places, incident.last = group[0].text, places, now
        incident.level = level if _WORSE[level] > _WORSE[incident.level] else incident.level
        if incident.state == "pending" and now - incident.first >= self.timing.raise_after_s:
            incident.state, incident.opened = "open", now
            return incident, "raised"
        if worse:
            incident.state = "open"  # whoever acknowledged a warning has not seen this
            return incident, "worse"
        return incident, self._escalated(incident, now)

    def _escalated(self, incident: Incident, now: float) -> Event | None:
        due = incident.opened is not None and now - incident.opened >= self.timing.escalate_after_s
        if incident.state != "open" or incident.escalated or not due:
            return None
        incident.escalated = True
        return "escalated"

    def acknowledge(self, key: str, by: str) -> Incident:
        """Somebody has taken it. Raises KeyError where no such incident is open."""
        incident = self.now[key]
        if incident.opened is None:
            raise KeyError(key)
        take(incident, by)
        return incident


def take(incident: Incident, by: str) -> None:
    """Somebody has it from now on; the links that were sent out are used up."""
    incident.state, incident.acknowledged_by, incident.links = "acknowledged", by, []


def _kept_of(incident: Incident) -> tuple[object, ...]:
    """What is written down when it changes; when it was last seen and how often it came back are not worth a write."""
    return incident.state, incident.level, incident.places, incident.text, incident.escalated


def lines_of(lines: Iterable[Mapping[str, Any]]) -> list[IncidentLine]:
    """The console's attention lines; what is not one is left out."""
    return [
        IncidentLine(one["level"], one["what"], str(one.get("text") or ""), str(one.get("site") or ""))
        for one in lines
        if isinstance(one.get("level"), str) and one["level"] in _WORSE and isinstance(one.get("what"), str)
    ]


def _notice(event: Event, incident: Incident, now: float) -> Notice:
    places = tuple(incident.places)
    told = (incident.key, incident.level, incident.text, places, now, incident.first)
    return Notice(event, *told, incident.owner, incident.runbook)
