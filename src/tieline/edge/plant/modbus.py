"""Meters, contacts and contactors over Modbus TCP; which register means what is data.

A register map names a register, its form, its word order, its scale to watts and the values that mean "no value".
Each answer is taken on a connection that is given up after a failure, so that a late answer is never taken for the
next one. Sources of the maps: the makers' register lists; none of them was read from a device here.
"""

from __future__ import annotations

import logging
import math
import struct
from datetime import datetime
from typing import Literal

import msgspec
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from tieline.edge.device import Reading, Unreachable

# pymodbus logs each lost answer as an error; the site's faults say it once.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

TIMEOUT_S = 1.0
PORT = 502

Form = Literal["int16", "uint16", "int32", "uint32", "float32"]
_FORMATS: dict[str, str] = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "float32": ">f"}


class RegisterMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantity of a device. `register` is zero-based, as it goes over the wire; `scale` turns it into watts."""

    register: int
    form: Form
    kind: Literal["input", "holding"] = "input"
    words: Literal["high_first", "low_first"] = "high_first"
    scale: float = 1.0
    none_at: tuple[float, ...] = ()  # raw values that mean "no value"

    def value(self, registers: list[int]) -> float | None:
        """Watts, or None where the device says that it has none."""
        words = registers if self.words == "high_first" else registers[::-1]
        raw = struct.unpack(_FORMATS[self.form], b"".join(word.to_bytes(2, "big") for word in words))[0]
        if not math.isfinite(raw) or raw in self.none_at:
            return None
        return float(raw) * self.scale

    @property
    def count(self) -> int:
        return struct.calcsize(_FORMATS[self.form]) // 2


# Total active power of three common meters, and of a fourth that makers of switchgear build in.
METERS: dict[str, RegisterMap] = {
    "eastron-sdm630": RegisterMap(register=52, form="float32"),
    "carlo-gavazzi-em24": RegisterMap(register=0x28, form="int32", words="low_first", scale=0.1, none_at=(0x7FFFFFFF,)),
    "schneider-pm5000": RegisterMap(register=3059, form="float32", kind="holding", scale=1e3),
    "janitza-umg": RegisterMap(register=19026, form="float32", kind="holding"),
}


class ModbusError(Exception):
    """No usable answer; one line."""


class ModbusLine:
    """One device on one address. Not for two tasks at once."""

    def __init__(self, host: str, port: int = PORT, unit: int = 1) -> None:
        self._host, self._port, self._unit = host, port, unit
        self._client: AsyncModbusTcpClient | None = None

    async def read(self, what: RegisterMap) -> float | None:
        """Raises ModbusError."""
        client = await self._connected()
        read = client.read_input_registers if what.kind == "input" else client.read_holding_registers
        try:
            answer = await read(what.register, count=what.count, device_id=self._unit)
            if answer.isError() or len(answer.registers) != what.count:
                raise ModbusError(f"{self._where}: register {what.register}: {answer}")
        except (ModbusException, OSError, TimeoutError) as error:
            self.close()
            raise ModbusError(f"{self._where}: {error}") from None
        return what.value(list(answer.registers))

    async def read_bit(self, address: int, kind: Literal["coil", "input"]) -> bool:
        """Raises ModbusError."""
        client = await self._connected()
        read = client.read_coils if kind == "coil" else client.read_discrete_inputs
        try:
            answer = await read(address, count=1, device_id=self._unit)
            if answer.isError() or not answer.bits:
                raise ModbusError(f"{self._where}: {kind} {address}: {answer}")
        except (ModbusException, OSError, TimeoutError) as error:
            self.close()
            raise ModbusError(f"{self._where}: {error}") from None
        return bool(answer.bits[0])

    async def write_coil(self, address: int, value: bool) -> None:
        """Raises ModbusError."""
        client = await self._connected()
        try:
            answer = await client.write_coil(address, value, device_id=self._unit)
            if answer.isError():
                raise ModbusError(f"{self._where}: coil {address}: {answer}")
        except (ModbusException, OSError, TimeoutError) as error:
            self.close()
            raise ModbusError(f"{self._where}: {error}") from None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _where(self) -> str:
        return f"{self._host}:{self._port} unit {self._unit}"

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is None or not self._client.connected:
            self.close()
            client = AsyncModbusTcpClient(
                self._host, port=self._port, timeout=TIMEOUT_S, retries=0, reconnect_delay=0, name=self._where
            )
            if not await client.connect():
                client.close()
                raise ModbusError(f"{self._where}: no connection")
            self._client = client
        return self._client


class ModbusMeter:
    """A site's meter at the interconnect; power drawn from the grid is positive, or `reversed`."""

    kind: Literal["measured", "simulated"] = "measured"

    def __init__(self, line: ModbusLine, what: RegisterMap, ratio: float = 1.0, reversed_sign: bool = False) -> None:
        self._line, self._what = line, what
        self._ratio = -ratio if reversed_sign else ratio  # of the current and voltage transformers before it

    async def read(self, now: datetime) -> Reading | Unreachable:
        try:
            watts = await self._line.read(self._what)
        except ModbusError as error:
            return Unreachable(f"the site's meter: {error}")
        if watts is None:
            return Unreachable("the site's meter says that it has no value")
        # A site that feeds in draws nothing; a small negative is the meter's own error at no load.
        return Reading(at=now, power_w=max(0.0, watts * self._ratio))

    async def close(self) -> None:
        self._line.close()


class CoilContactor:
    """A feeder's contactor, breaker or PDU outlet behind one coil. `open_value` is what opens it."""

    def __init__(self, feeder: str, line: ModbusLine, coil: int, open_value: bool = False) -> None:
        self.feeder = feeder
        self._line, self._coil, self._open_value = line, coil, open_value

    async def open(self) -> bool:
        await self._line.write_coil(self._coil, self._open_value)
        return await self._line.read_bit(self._coil, "coil") is self._open_value

    async def close(self) -> None:
        self._line.close()


class CoilFans:
    """The fans of one rig group behind one coil. `on_value` is what makes them run."""

    def __init__(self, unit_id: str, line: ModbusLine, coil: int, on_value: bool = True) -> None:
        self.unit_id = unit_id
        self._line, self._coil, self._on_value = line, coil, on_value

    async def set(self, on: bool) -> bool:
        wanted = self._on_value if on else not self._on_value
        await self._line.write_coil(self._coil, wanted)
        return await self._line.read_bit(self._coil, "coil") is wanted

    async def close(self) -> None:
        self._line.close()
