"""Where a site's own orders come from: a file that someone replaces, a contact or a register over Modbus.

Each says all that it asks for now, or that it cannot be read. What it says is foreign: one line names what is wrong,
and the source counts as silent until it is right.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from tieline.edge.plant.modbus import ModbusError, ModbusLine, RegisterMap
from tieline.feeds.notices.standing import MAX_ORDERS, MOST_W, SourceError, StatedOrder
from tieline.intake import IntakeError, read

# A file of orders is a few hundred bytes.
MAX_FILE = 100_000


class OrderText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order in a file or a request. Times with a zone; `minutes` or `until`, neither: for as long as it stands."""

    id: str
    limit_mw: float
    start: datetime | None = None
    until: datetime | None = None
    minutes: float | None = None

    def said(self, now: datetime) -> StatedOrder:
        """Raises ValueError naming the field."""
        if not self.id or len(self.id) > 100 or not self.id.isprintable():
            raise ValueError("id: give 1 to 100 printable characters")
        if not 0.0 <= self.limit_mw * 1e6 <= MOST_W:
            raise ValueError(f"limit_mw {self.limit_mw}: give 0 to {MOST_W / 1e6:.0f}")
        for name, moment in (("start", self.start), ("until", self.until)):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} has no zone; write it as {moment.isoformat()}Z")
        if self.minutes is not None and not 0.0 < self.minutes <= 60 * 24 * 31:
            raise ValueError(f"minutes {self.minutes}: give more than 0 and at most a month")
        begins = self.start or now
        until = self.until if self.minutes is None else begins + timedelta(minutes=self.minutes)
        if until is not None and until <= begins:
            raise ValueError(f"until {until.isoformat()} is not after its start")
        return StatedOrder(self.id, self.limit_mw * 1e6, self.start, until)


_read_orders = msgspec.json.Decoder(list[OrderText] | OrderText).decode


def read_orders(text: bytes, now: datetime) -> list[StatedOrder]:
    """A JSON list of orders, or one order. Raises ValueError in one line."""
    try:
        orders = read(text, _read_orders)
    except IntakeError as error:
        raise ValueError(f"no orders: {error}") from None
    listed = orders if isinstance(orders, list) else [orders]
    if len(listed) > MAX_ORDERS:
        raise ValueError(f"{len(listed)} orders at once; at most {MAX_ORDERS} are taken")
    return [order.said(now) for order in listed]


class FileSource:
    """A file that holds all orders in force; an empty or a missing one holds none. Beside it `.ack` says what was
    taken, when. `minutes` run from the first time an order was read."""

    doubt: str | None = None

    def __init__(self, path: Path, name: str = "file") -> None:
        self.name, self.path = name, path
        self._first: dict[str, datetime] = {}
        self._told: list[str] | None = None

    async def read(self, now: datetime) -> list[StatedOrder]:
        try:
            if not self.path.exists():
                return []
            if self.path.stat().st_size > MAX_FILE:
                raise SourceError(f"{self.path} is larger than {MAX_FILE} bytes")
            text = self.path.read_bytes().strip()
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror}") from None
        if not text:
            return []
        try:
            given = read_orders(text, now)
        except ValueError as error:
            raise SourceError(f"{self.path}: {error}") from None
        self._first = {one.order_id: self._first.get(one.order_id, now) for one in given}
        return [one if one.start is not None else self._dated(one, now) for one in given]

    def tell(self, now: datetime, taken: list[str]) -> None:
        if taken == self._told:
            return
        self._told = taken
        said = msgspec.json.encode({"at": now, "in_force": taken})
        self.path.with_name(self.path.name + ".ack").write_bytes(said + b"\n")

    async def close(self) -> None:
        """Nothing is held."""

    def _dated(self, one: StatedOrder, now: datetime) -> StatedOrder:
        """An order that says how long counts from when it was first read, so that reading it again adds nothing."""
        first = self._first[one.order_id]
        return one if one.until is None else StatedOrder(one.order_id, one.limit_w, first, first + (one.until - now))


class ContactSource:
    """A dry contact or a coil: closed (or open, with `when` False) asks for a limit."""

    doubt: str | None = None

    def __init__(
        self,
        line: ModbusLine,
        address: int,
        limit_w: float,
        kind: Literal["coil", "input"] = "input",
        when: bool = True,
        name: str = "contact",
    ) -> None:
        self.name, self._line, self._address = name, line, address
        self._limit_w, self._kind, self._when = limit_w, kind, when

    async def read(self, now: datetime) -> list[StatedOrder]:
        try:
            closed = await self._line.read_bit(self._address, self._kind)
        except ModbusError as error:
            raise SourceError(str(error)) from None
        return [StatedOrder(f"{self.name}-{self._address}", self._limit_w)] if closed is self._when else []

    def tell(self, now: datetime, taken: list[str]) -> None:
        """A contact cannot be told."""

    async def close(self) -> None:
        self._line.close()


class RegisterSource:
    """A register that holds the limit; a value that means "none" asks for nothing."""

    doubt: str | None = None

    def __init__(self, line: ModbusLine, what: RegisterMap, name: str = "register") -> None:
        self.name, self._line, self._what = name, line, what

    async def read(self, now: datetime) -> list[StatedOrder]:
        try:
            limit_w = await self._line.read(self._what)
        except ModbusError as error:
            raise SourceError(str(error)) from None
        if limit_w is None:
            return []
        if not 0.0 <= limit_w <= MOST_W:
            raise SourceError(f"register {self._what.register} says {limit_w:.6g} W, which no site can be asked for")
        return [StatedOrder(f"{self.name}-{self._what.register}", limit_w)]

    def tell(self, now: datetime, taken: list[str]) -> None:
        """A register of the other side is not written."""

    async def close(self) -> None:
        self._line.close()
