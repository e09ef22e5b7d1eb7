"""A fake Modbus TCP device: registers and coils that a test or a file sets, and bad manners on request."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tieline.sim.listener import FakeListener

# A frame's header: transaction, protocol, length, unit.
_HEADER = struct.Struct(">HHHB")
MAX_COUNT = 125


@dataclass
class FakeModbus(FakeListener):
    """`registers` (input and holding alike) and `coils` by zero-based address; `computed` is asked anew at each
    reading. `manner`: how it behaves."""

    registers: dict[int, int] = field(default_factory=dict)
    coils: dict[int, bool] = field(default_factory=dict)
    computed: dict[int, Callable[[], list[int]]] = field(default_factory=dict)
    manner: Literal["well", "hang", "drop", "garbage", "stuck", "exception"] = "well"
    writes: list[tuple[int, bool]] = field(default_factory=list)

    def set_float(self, register: int, value: float) -> None:
        """A float32, high word first."""
        self.registers[register], self.registers[register + 1] = struct.unpack(">HH", struct.pack(">f", value))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                transaction, _, length, unit = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                body = await reader.readexactly(min(length, 260) - 1)
                if self.manner == "hang":
                    continue
                if self.manner == "drop":
                    break
                answer = b"\x99garbage" if self.manner == "garbage" else self._answer(body)
                writer.write(_HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    def _answer(self, body: bytes) -> bytes:
        function, address, value = struct.unpack(">BHH", body[:5])
        if self.manner == "exception" or (value > MAX_COUNT and function in (1, 2, 3, 4)):
            return bytes((function | 0x80, 2))
        match function:
            case 1 | 2:
                bits = sum(self.coils.get(address + n, False) << n for n in range(value))
                size = (value + 7) // 8
                return bytes((function, size)) + bits.to_bytes(size, "little")
            case 3 | 4:
                words = self.computed[address]() if address in self.computed else None
                words = words or [self.registers.get(address + n, 0) for n in range(value)]
                return bytes((function, 2 * value)) + struct.pack(f">{value}H", *words[:value])
            case 5:
                if self.manner != "stuck":
                    self.coils[address] = value == 0xFF00
                self.writes.append((address, value == 0xFF00))
                return body[:5]
            case _:
                return bytes((function | 0x80, 1))
