"""The orders a site holds: plans, grid orders, an operator's overrides and confirmations.

Kept in one small file, so that an agent that starts again without a link still knows what binds it. Bounded:
what has ended is dropped, and of what has not only the newest are kept.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tieline.edge.decide import RESTORE_FOR, Orders, in_force
from tieline.intake import IntakeError
from tieline.records import Action, AnyRecord, Instruction, Override, Plan, encode_batch, read_batch
from tieline.store.files import WriteFile, write_private

log = logging.getLogger("tieline.edge")

# The running plan, the next one, and one for a revision of each.
MAX_PLANS = 4
# Far more than a grid operator or a person has in force at one site. Beyond it the one that binds last gives way, of
# those that bind now the mildest: an order in force is never pushed out by one that is still to come.
MAX_ORDERS = 64
# What that many orders and plans of the largest site take, several times over.
MAX_FILE_BYTES = 64_000_000
# After this long without a first plan a site counts as cut off.
GRACE = timedelta(minutes=5)


class OrderBook:
    """What binds one site. `path` None: kept in memory only."""

    def __init__(self, site_id: str, path: Path | None = None, write: WriteFile = write_private) -> None:
        self.site_id, self._path, self._write = site_id, path, write
        self._plans: list[Plan] = []
        self._instructions: dict[str, Instruction] = {}
        self._overrides: dict[str, Override] = {}
        self._accepted: list[Action] = []
        self._since: datetime | None = None
        if path is not None and path.exists():
            self._load(path)

    def take(self, record: AnyRecord, now: datetime) -> bool:
        """Keep an order for this site; False for anything else, or for one already held."""
        match record:
            case Plan() if record.site_id == self.site_id:
                if any(p.at == record.at and p.known_at == record.known_at for p in self._plans):
                    return False
                self._plans = sorted([*self._plans, record], key=lambda p: (p.at, p.known_at))[-MAX_PLANS:]
            case Instruction() if record.site_id == self.site_id:
                if not _newer(record, self._instructions.get(record.instruction_id)):
                    return False
                self._instructions[record.instruction_id] = record
            case Override() if record.site_id == self.site_id:
                if not _newer(record, self._overrides.get(record.override_id)):
                    return False
                self._overrides[record.override_id] = record
            case Action() if record.what == "abort" and record.target == self.site_id:
                if self._instructions.pop(record.detail, None) is None:
                    return False
            case Action() if record.what == "accept" and record.target == self.site_id:
                self._accepted = [*self._accepted, record][-MAX_PLANS:]
            case _:
                return False
        self._drop_ended(now)
        self._save()
        return True

    def orders(self, now: datetime) -> Orders:
        """What binds now."""
        if self._since is None:
            self._since = now
        plan = next((p for p in reversed(self._plans) if p.at <= now < p.valid_until), None)
        return Orders(
            plan=plan,
            cut_off=plan is None and (bool(self._plans) or now - self._since >= GRACE),
            overrides=tuple(o for o in self._overrides.values() if o.at <= now < o.until),
            instructions=tuple(i for i in self._instructions.values() if in_force(i.at, i.until, now)),
            ended=tuple(i for i in self._instructions.values() if i.at < i.until <= now < i.until + RESTORE_FOR),
        )

    def accepted(self, plan: Plan) -> bool:
        """True where an operator confirmed this plan (the confirmation names its `known_at`)."""
        return any(action.detail == plan.known_at.isoformat() for action in self._accepted)

    def _drop_ended(self, now: datetime) -> None:
        for key in [k for k, order in self._instructions.items() if order.until + RESTORE_FOR <= now]:
            del self._instructions[key]
        for key in [k for k, override in self._overrides.items() if override.until <= now]:
            del self._overrides[key]
        while len(self._instructions) > MAX_ORDERS:
            last = max(self._instructions.values(), key=lambda o: (max(o.at, now), o.limit_w))
            self._give_way(self._instructions, last.instruction_id, last)
        while len(self._overrides) > MAX_ORDERS:
            held = max(self._overrides.values(), key=lambda o: (max(o.at, now), o.known_at))
            self._give_way(self._overrides, held.override_id, held)

    def _give_way(self, held: dict[str, Any], name: str, order: Instruction | Override) -> None:
        del held[name]
        log.error("%s holds %d orders at most: %s, from %s, is not held", self.site_id, MAX_ORDERS, name, order.at)

    def _load(self, path: Path) -> None:
        try:
            held = read_batch(path.read_bytes(), MAX_FILE_BYTES)
        except (OSError, IntakeError) as error:
            log.warning("orders of %s could not be read again: %s", self.site_id, error)
            return
        self._plans = [r for r in held if isinstance(r, Plan)]
        self._instructions = {r.instruction_id: r for r in held if isinstance(r, Instruction)}
        self._overrides = {r.override_id: r for r in held if isinstance(r, Override)}
        self._accepted = [r for r in held if isinstance(r, Action)]

    def _save(self) -> None:
        """Replace the file in one synced step: an order that was taken holds after a power cut, with or without a
        link."""
        if self._path is None:
            return
        batch: list[AnyRecord] = [
            *self._plans, *self._instructions.values(), *self._overrides.values(), *self._accepted,
        ]  # fmt: skip
        try:
            self._write(self._path, encode_batch(batch))
        except OSError as error:
            log.error("orders of %s are in memory only: %s", self.site_id, error)


def _newer(record: Instruction | Override, held: Instruction | Override | None) -> bool:
    return held is None or record.known_at > held.known_at
