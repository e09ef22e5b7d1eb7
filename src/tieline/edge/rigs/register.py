"""The rigs of one site by MAC address: who stands where, where they mine to, how often they were started.

A rig is its MAC and serial number, not its address: one that moved keeps its history. The first rig heard at an
address that nothing is known of is taken as ours; another one at the address of a known rig is a stranger until a
person accepts it (`accept_file`, one MAC or address a line). Kept in one small file, replaced in one synced step.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from tieline.edge.rigs.driver import RigSample
from tieline.fleet.physics import MIN_BETWEEN_STARTS_S, STARTS_PER_DAY
from tieline.intake import IntakeError, read
from tieline.store.files import write_private

log = logging.getLogger("tieline.edge")

DAY = timedelta(days=1)
BETWEEN_STARTS = timedelta(seconds=MIN_BETWEEN_STARTS_S)
# What makes another model of a name that begins alike.
VARIANTS = ("+", "PRO", "XP", "J", "K", "A", "E", "S", "HYD", "IMM")
# More than any site has rigs; what is beyond is not remembered, and that is said.
MAX_RIGS = 100_000
MAX_FILE_BYTES = 1_000 * MAX_RIGS


class RigHistory(msgspec.Struct, kw_only=True):
    """What is known of one rig. `starts`: of the last day. `excepted`: starts that an order made necessary."""

    mac: str | None = None
    serial: str | None = None
    model: str | None = None
    address: str
    pool: str | None = None
    worker: str | None = None
    starts: list[datetime] = []
    excepted: int = 0
    normal: str | None = None  # the preset or power target it had before it was lowered

    def may_start(self, now: datetime) -> bool:
        """Not within five minutes of the last start, and not more than six times a day."""
        recent = [at for at in self.starts if now - DAY < at <= now]
        if recent and now - recent[-1] < BETWEEN_STARTS:
            return False
        return len(recent) < STARTS_PER_DAY

    def started(self, now: datetime, by_order: bool) -> None:
        recent = [at for at in self.starts if now - DAY < at <= now]
        self.starts = [*recent[-4 * STARTS_PER_DAY :], now]
        self.excepted += by_order


class _RegisterFile(msgspec.Struct):
    rigs: list[RigHistory] = []


_read_file = msgspec.json.Decoder(_RegisterFile).decode


class Register:
    """`folder` None: kept in memory only."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._path = None if folder is None else folder / "rigs.json"
        self.accept_file = None if folder is None else folder / "rigs.accepted"
        self._accept_seen: float | None = None
        self._by_address: dict[str, RigHistory] = {}
        self._by_mac: dict[str, RigHistory] = {}
        self._changed = False
        if self._path is not None and self._path.exists():
            self._load(self._path)

    def at(self, address: str) -> RigHistory:
        """The history of whoever belongs at this address."""
        held = self._by_address.get(address)
        if held is None:
            held = self._by_address[address] = RigHistory(address=address)
            self._changed = True
        return held

    @property
    def histories(self) -> list[RigHistory]:
        """Everyone who is known, by address."""
        return [self._by_address[address] for address in sorted(self._by_address)]

    def check(self, address: str, sample: RigSample, expected_model: str) -> str | None:
        """None where the rig heard at `address` is ours; else one line that names both values. A rig of ours that
        moved here takes its history along."""
        if sample.model is not None and not same_model(sample.model, expected_model):
            return f"{address} is a {sample.model}, expected {expected_model}"
        held = self.at(address)
        if sample.mac is None:
            return None
        if held.mac is None:
            known = self._by_mac.get(sample.mac)
            if known is not None:
                self._move(known, address)
            else:
                self._pin(held, sample)
            return None
        if held.mac == sample.mac:
            if held.serial is not None and sample.serial not in (None, held.serial):
                return f"{address} has serial {sample.serial}, expected {held.serial} (MAC {held.mac})"
            return None
        known = self._by_mac.get(sample.mac)
        if known is not None:
            self._move(known, address)
            return None
        return f"{address} has MAC {sample.mac}, expected {held.mac}"

    def drift(self, address: str, sample: RigSample) -> str | None:
        """Where the rig mines to now against where it did, both values in one line; None where it did not change."""
        held = self.at(address)
        for name, before, now in (("pool", held.pool, sample.pool), ("worker", held.worker, sample.worker)):
            if now is None:
                continue
            if before is None:
                setattr(held, name, now)
                self._changed = True
            elif before != now:
                return f"{address} mines at {sample.pool} as {sample.worker}, expected {held.pool} as {held.worker}"
        return None

    def mines_at(self, address: str, pool: str, worker: str) -> None:
        """Where this rig mines from now on, as two people approved and it said itself."""
        held = self.at(address)
        held.pool, held.worker = pool, worker
        self._changed = True

    def remember_normal(self, address: str, normal: str | None) -> None:
        held = self.at(address)
        if normal is not None and held.normal != normal:
            held.normal = normal
            self._changed = True

    def started(self, address: str, now: datetime, by_order: bool) -> None:
        self.at(address).started(now, by_order)
        self._changed = True

    def take_accepted(self) -> list[str]:
        """What a person accepted since the last call: their pins are forgotten, and the next sample sets them."""
        path = self.accept_file
        if path is None or not path.exists() or path.stat().st_mtime == self._accept_seen:
            return []
        self._accept_seen = path.stat().st_mtime
        taken = []
        for word in path.read_text(encoding="utf-8", errors="replace").split()[-MAX_RIGS:]:
            for held in [h for h in self._by_address.values() if word in (h.address, h.mac)]:
                if held.mac is not None:
                    self._by_mac.pop(held.mac, None)
                held.mac = held.serial = held.model = held.pool = held.worker = held.normal = None
                taken.append(held.address)
        self._changed = self._changed or bool(taken)
        os.replace(path, path.with_suffix(".taken"))
        return taken

    def save(self) -> None:
        """Write it down if anything changed."""
        if self._path is None or not self._changed:
            return
        self._changed = False
        try:
            away = [rig for rig in self._by_mac.values() if self._by_address.get(rig.address) is not rig]
            held = _RegisterFile([*self._by_address.values(), *away])
            write_private(self._path, msgspec.json.encode(held))
        except OSError as error:
            self._changed = True
            log.error("%s could not be written: %s", self._path, error)

    def _pin(self, held: RigHistory, sample: RigSample) -> None:
        if len(self._by_mac) >= MAX_RIGS:
            log.error("more than %d rigs; %s is not remembered", MAX_RIGS, sample.mac)
            return
        held.mac, held.serial, held.model = sample.mac, sample.serial, sample.model
        if held.mac is not None:
            self._by_mac[held.mac] = held
        self._changed = True

    def _move(self, known: RigHistory, address: str) -> None:
        """`known` now stands at `address`; whoever belonged there keeps its history under its MAC alone."""
        log.info("rig %s moved from %s to %s", known.mac, known.address, address)
        if self._by_address.get(known.address) is known:
            del self._by_address[known.address]
        known.address = address
        self._by_address[address] = known
        self._changed = True

    def _load(self, path: Path) -> None:
        try:
            held = read(path.read_bytes(), _read_file, MAX_FILE_BYTES)
        except (OSError, IntakeError) as error:
            log.error("%s cannot be read (%s); identities are learned anew", path, error)
            return
        for rig in held.rigs:
            self._by_address.setdefault(rig.address, rig)
            if rig.mac is not None:
                self._by_mac[rig.mac] = rig


def same_model(stated: str, expected: str) -> bool:
    """Whether a rig's own name for its model means `expected` of the model list. Makers append hash board and
    version ("M60S_VK30", "Antminer S21 (Amlogic)")."""
    a, b = _plain(stated), _plain(expected)
    return a == b or (
        a.startswith(b) and not a[len(b) :].startswith(("+", "PRO", "XP", "J", "K", "A", "E", "S", "HYD"))
    )


def _plain(name: str) -> str:
    name = name.split("_")[0].split("(")[0].upper()
    for maker in ("BITMAIN", "ANTMINER", "MICROBT", "WHATSMINER", "CANAAN", "AVALON"):
        name = name.replace(maker, "")
    return "".join(c for c in name if c.isalnum() or c == "+")
