"""The page of alerts: what stands open and who has it, what is silenced, and what was delivered.

The alerts' part raises and delivers; here somebody takes an incident or silences a kind for a while. Both are recorded
in the alerts' own database, which that part reads each second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tieline.alerts.response import acknowledge, acknowledge_by_link, linked, silence
from tieline.console.door import Row, signed_in_as
from tieline.console.forms import CommandForm, ReasonedForm, answer, failed, read_form
from tieline.people import Right
from tieline.store import StoreError
from tieline.store.alerts import AlertStore

# A page shows the newest; older ones stay in the database until they are pushed out.
SHOWN = 100
USED = "link: it is used up, or was none; the page Alerts says who has what"


class TakeForm(CommandForm, frozen=True, kw_only=True):
    """By the incident's name, or by the secret of a message's link."""

    key: str = ""
    link: str = ""


class LinkForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    link: str


class SilenceForm(ReasonedForm, frozen=True, kw_only=True):
    what: str
    minutes: float


class AlertRoom:
    """The handlers. `store` None: this console has no alerts beside it."""

    def __init__(self, store: AlertStore | None, now: Callable[[], datetime]) -> None:
        self.store, self._now = store, now

    def rows(self) -> list[Row]:
        return [
            ("/api/alerts", "GET", Right.SEE, self.listed),
            ("/api/alerts/link", "POST", Right.SEE, self.linked),
            ("/api/alerts/take", "POST", Right.COMMAND, self.take),
            ("/api/alerts/silence", "POST", Right.COMMAND, self.silence),
        ]

    async def listed(self, request: Request) -> Response:
        if self.store is None:
            return failed(404, "this console has no alerts beside it")
        try:
            return answer(await asyncio.to_thread(self._listed, self.store))
        except StoreError as error:
            return failed(503, str(error))

    def _listed(self, store: AlertStore) -> dict[str, Any]:
        now = self._now().timestamp()
        incidents = [_shown(msgspec.json.decode(body)) for body in store.incidents()]
        messages = store.messages()
        return {
            "now": now,
            "open": [one for one in incidents if one["state"] in ("open", "acknowledged")],
            "ended": [one for one in incidents if one["state"] == "ended" and one["opened"] is not None][:SHOWN],
            "silences": [{"what": s.what, "until": s.until, "by": s.by, "why": s.why} for s in store.silences(now)],
            "messages": [
                {
                    "channel": m.channel,
                    "made": m.made,
                    "words": msgspec.json.decode(m.body)["words"],
                    "tries": m.tries,
                    "ended": m.ended,
                    "error": m.error,
                }
                for m in messages[:SHOWN]
            ],
            "more_messages": max(0, len(messages) - SHOWN),
        }

    async def linked(self, request: Request) -> Response:
        """The incident that a message's link is for, not taken yet."""
        form = await read_form(request, LinkForm)
        if self.store is None:
            return failed(404, "this console has no alerts beside it")
        found = await asyncio.to_thread(linked, self.store, form.link)
        if found is None:
            return failed(404, USED)
        return answer({"now": self._now().timestamp(), "incident": _shown(msgspec.to_builtins(found))})

    async def take(self, request: Request) -> Response:
        form = await read_form(request, TakeForm)
        by = signed_in_as(request) or form.by.strip()
        if self.store is None or not by:
            return failed(400, "by: give your name; it is told to whoever else looks")
        if form.link:
            found = await asyncio.to_thread(
                acknowledge_by_link, self.store, form.link, by[:200], self._now().timestamp()
            )
            return answer({"taken": found.key}) if found is not None else failed(404, USED)
        taken = await asyncio.to_thread(acknowledge, self.store, form.key, by[:200], self._now().timestamp())
        return answer({"taken": form.key}) if taken else failed(404, f"key: {form.key!r} is not open and untaken")

    async def silence(self, request: Request) -> Response:
        form = await read_form(request, SilenceForm)
        by = signed_in_as(request) or form.by.strip()
        if self.store is None or not by:
            return failed(400, "by: give your name; it is told to whoever else looks")
        words = (form.what[:200], form.minutes, by[:200], form.why)
        try:
            one = await asyncio.to_thread(silence, self.store, *words, self._now().timestamp())
        except ValueError as error:
            return failed(400, str(error))
        return answer({"until": one.until})


def _shown(incident: dict[str, Any]) -> dict[str, Any]:
    """Without what the links' secrets are known by."""
    return {name: value for name, value in incident.items() if name != "links"}
