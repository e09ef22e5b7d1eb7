"""The alerts' loop: hears what needs a person, keeps incidents, delivers messages, and beats outside.

Silence of the console is an incident itself. A message that cannot be delivered is tried again, later each time up to a
bound, and stays visible with why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import httpx
import msgspec

from tieline import intake
from tieline.alerts import channels
from tieline.alerts.channels import AGAIN_S, ChannelError
from tieline.alerts.incidents import Incident, IncidentLine, Incidents, Notice, Timing, lines_of, take
from tieline.alerts.response import new_link
from tieline.config.sections import Alerts
from tieline.link import Link
from tieline.store.alerts import AlertMessage, AlertStore
from tieline.tasks import Registry, beat

log = logging.getLogger("tieline.alerts")

# The console tells what needs a person every two seconds.
SUBJECT: Final = "attention"
# The console's page that a message's link opens; the secret stands behind the #, which no server sees in an address.
TAKE: Final = "/alerts/take"
SILENT_S: Final = 20.0
STEP_S: Final = 1.0
TURN_S: Final = 60.0
HEARTBEAT_S: Final = 60.0
# What a message on the link may hold: sixty lines of a few hundred bytes.
MAX_BYTES: Final = 256_000

_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


class AlertService:
    """One per platform."""

    def __init__(self, settings: Alerts, store: AlertStore, now: Callable[[], datetime]) -> None:
        self.settings, self.store, self._now = settings, store, now
        timing = Timing(
            raise_after_s=settings.raise_after_s,
            clear_after_s=settings.clear_after_s,
            escalate_after_s=60.0 * settings.escalate_after_minutes,
        )
        self.incidents = Incidents(timing, [msgspec.json.decode(b, type=Incident) for b in store.incidents()])
        self._lines: list[IncidentLine] = []
        self._heard: float | None = None

    def keep(self, registry: Registry, link: Link) -> None:
        """Run until the registry closes."""
        self._began = self.seconds()
        registry.keep("attention", "hears what needs a person", lambda: self._hear(link))
        registry.keep("incidents", "raises and ends incidents", self._step_for_ever)
        registry.keep("delivery", "delivers messages", self._deliver_for_ever)
        if self.settings.heartbeat_url_env:
            registry.keep("heartbeat", "tells the outside that Tieline lives", self._beat_for_ever)

    def seconds(self) -> float:
        return self._now().timestamp()

    async def _hear(self, link: Link) -> None:
        async for _, data in link.follow(SUBJECT):
            self.hear(data)

    def hear(self, data: bytes) -> None:
        """One telling; what is none is left out, and its silence is noticed."""
        try:
            self._lines = lines_of(intake.read(data, _decode, MAX_BYTES))
        except intake.IntakeError as error:
            log.warning("what needs a person could not be read: %s", error)
            return
        self._heard = self.seconds()

    async def _step_for_ever(self) -> None:
        while True:
            beat(TURN_S)
            await asyncio.to_thread(self.step)
            await asyncio.sleep(STEP_S)

    def step(self) -> list[Notice]:
        """One look: what stands, what is told of it. Raises StoreError."""
        now = self.seconds()
        for taken in self._acknowledged():
            if taken.key in self.incidents.now:
                take(self.incidents.now[taken.key], taken.acknowledged_by)
        since = self._heard if self._heard is not None else getattr(self, "_began", now)
        lines = list(self._lines)
        if now - since > SILENT_S:
            lines = [IncidentLine("bad", "the console is silent", f"nothing is known since {now - since:.0f} s")]
        notices, changed = self.incidents.step(lines, now)
        self._name(changed)
        silent = {one.what for one in self.store.silences(now)}
        notable = [self._linked(one, changed) for one in notices if one.what not in silent]
        messages = [(channel.id, _body(one)) for one in notable for channel in self._channels(one)]
        if changed or messages:
            rows = [(one.id, now, msgspec.json.encode(one)) for one in changed]
            left = self.store.put(rows, messages, now)
            if left:
                log.error("%d messages were not kept: too many wait for their channels", left)
        return notable

    def _name(self, incidents: list[Incident]) -> None:
        """Whose they are, and where is written what to do: of the longest name that one's begins with."""
        settings = self.settings
        for one in incidents:
            known = [name for name in settings.owners if one.key.startswith(name)]
            one.owner = settings.owners[max(known, key=len)] if known else ""
            anchor = re.sub(r"[^a-z0-9]+", "-", one.key.lower()).strip("-")
            one.runbook = "" if settings.runbooks is None else f"{settings.runbooks}#{anchor}"

    def _linked(self, notice: Notice, changed: list[Incident]) -> Notice:
        """With whose it is, and a link that takes it where phones reach the console. An incident that has a new link is
        among what changed."""
        incident = self.incidents.now.get(notice.what)
        if incident is None:
            return notice
        notice = msgspec.structs.replace(notice, owner=incident.owner, runbook=incident.runbook)
        if self.settings.url is None:
            return notice
        if incident not in changed:
            changed.append(incident)
        return msgspec.structs.replace(notice, link=f"{self.settings.url.rstrip('/')}{TAKE}#{new_link(incident)}")

    def _acknowledged(self) -> list[Incident]:
        incidents = [msgspec.json.decode(body, type=Incident) for body in self.store.incidents()]
        return [one for one in incidents if one.state == "acknowledged"]

    def _channels(self, notice: Notice) -> list[Any]:
        late = notice.event == "escalated"
        return [c for c in self.settings.channels if c.escalation == late or (not late and not c.escalation)]

    async def _deliver_for_ever(self) -> None:
        while True:
            beat(TURN_S)
            for message in await asyncio.to_thread(self.store.due, self.seconds()):
                beat(TURN_S)
                await self.deliver(message)
            await asyncio.sleep(STEP_S)

    async def deliver(self, message: AlertMessage) -> bool:
        """Try one message; True where it arrived."""
        now = self.seconds()
        channel = next((c for c in self.settings.channels if c.id == message.channel), None)
        try:
            if channel is None:
                raise ChannelError(f"no channel {message.channel!r} is configured any more")
            told = msgspec.json.decode(message.body)
            words = told.get("message", told["words"])
            await channels.send(channel, f"Tieline: {told['what']}", words, message.body, now)
        except ChannelError as error:
            again = None if channel is None or message.tries >= len(AGAIN_S) else now + AGAIN_S[message.tries]
            await asyncio.to_thread(self.store.failed, message.id, str(error), again, now)
            log.warning("alert %d to %s: %s", message.id, message.channel, error)
            return False
        await asyncio.to_thread(self.store.delivered, message.id, now)
        return True

    async def _beat_for_ever(self) -> None:
        name = self.settings.heartbeat_url_env or ""
        while True:
            beat(2 * HEARTBEAT_S)
            address = os.environ.get(name, "")
            try:
                async with httpx.AsyncClient(timeout=10.0, follow_redirects=False, trust_env=False) as client:
                    (await client.get(address)).raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                log.warning("the heartbeat to %s did not arrive: %s", name, type(error).__name__)
            await asyncio.sleep(HEARTBEAT_S)


def _body(notice: Notice) -> bytes:
    return msgspec.json.encode({**msgspec.structs.asdict(notice), "words": notice.words, "message": notice.message})
