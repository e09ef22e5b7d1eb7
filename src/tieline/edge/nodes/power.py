"""What GPUs of this machine draw, by their maker's own tool, nvidia-smi; where there is none, that is said.

The tool's CSV form is asked for by name of column, so that one that it does not know is an error and not another
figure. A card says "[N/A]" or "[Not Supported]" for what it does not measure, and "[Unknown Error]" when it has fallen
off its bus: all of them are None here, never zero. Not measured on hardware: no GPU was at hand; the forms are those of
the maker's manual.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import signal
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from tieline.edge.device import Answer, Applied, Reading, Unreachable
from tieline.fleet.physics import GPU_AUX
from tieline.fleet.sites import NodeGroup
from tieline.records import Setpoint

COLUMNS: Final = ("index", "uuid", "name", "power.draw", "power.limit", "utilization.gpu", "temperature.gpu")
# The tool takes a second where its driver is not held, and hangs where a card has fallen off its bus.
TIMEOUT_S, MAX_ANSWER = 5.0, 1_000_000
# No board draws more: today's largest are rated at 1,400 W.
MOST_W: Final = 3_000.0
MOST_GPUS: Final = 64
# Processors, memory, fans and power supplies beside the boards, as a share of what those draw: assumed, not measured.
HOST_SHARE: Final = 0.35


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One card. Figures that it does not say, or that cannot be, are None."""

    index: int
    uuid: str
    name: str
    power_w: float | None
    limit_w: float | None
    busy_share: float | None
    temp_c: float | None


class NoGpuError(OSError):
    """No card can be read here; one line says why."""


async def read_gpus(tool: str = "nvidia-smi") -> list[GpuSample]:
    """Every card of this machine. Raises NoGpuError."""
    path = shutil.which(tool)
    if path is None:
        raise NoGpuError(f"no GPU can be read here: {tool} is not installed (it comes with NVIDIA's driver)")
    process = await asyncio.create_subprocess_exec(
        path, f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said = b""
            while len(said) < MAX_ANSWER and (piece := await process.stdout.read(65_536)):
                said += piece
            if len(said) >= MAX_ANSWER:
                raise NoGpuError(f"{tool} answers without an end")
            code = await process.wait()
    except TimeoutError:
        raise NoGpuError(f"{tool} did not answer within {TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            while await process.stdout.read(65_536):  # what it wrote until then, so that the pipe ends
                pass
            await process.wait()
    text = said.decode("utf-8", "replace")
    if code != 0:
        raise NoGpuError(f"{tool}: {' '.join(text.split())[:200] or f'ended with code {code}'}")
    return parsed(text)


def parsed(text: str) -> list[GpuSample]:
    """The tool's lines. Raises NoGpuError where there is none that can be read."""
    cards = []
    for line in text.splitlines()[:MOST_GPUS]:
        words = [word.strip() for word in line.split(",")]
        if len(words) != len(COLUMNS) or not words[0].isdigit():
            continue
        busy = _figure(words[5], 100.0)
        cards.append(
            GpuSample(
                int(words[0]), words[1][:80], words[2][:80], _figure(words[3], MOST_W), _figure(words[4], MOST_W),
                None if busy is None else busy / 100.0, _figure(words[6], 150.0),
            )
        )  # fmt: skip
    if not cards:
        raise NoGpuError(f"nvidia-smi named no GPU: {' '.join(text.split())[:120]!r}")
    return cards


def _figure(word: str, most: float) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0.0 <= value <= most else None


class GpuNodes:
    """A node group of real hardware: the GPUs of the machine that its agent runs on, and the rest of the group at its
    rating. What it is asked is carried out by its replicas."""

    kind: Literal["measured", "simulated"] = "measured"

    def __init__(self, group: NodeGroup, tool: str = "nvidia-smi") -> None:
        self.unit_id, self.group, self._tool = group.id, group, tool

    @property
    def highest_w(self) -> float:
        return self.group.rated_w * (1 + GPU_AUX)

    @property
    def lowest_w(self) -> float:
        """A node without a replica idles; it is not switched off from here."""
        return self.group.nodes * self.group.gpu.idle_w * (1 + GPU_AUX)

    async def read(self, now: datetime) -> Reading | Unreachable:
        try:
            cards = await read_gpus(self._tool)
        except NoGpuError as error:
            return Unreachable(str(error))
        measured = [card for card in cards if card.power_w is not None]
        if not measured:
            return Unreachable("no GPU here says what it draws")
        boards_w = sum(card.power_w or 0.0 for card in measured)
        every = self.group.nodes * self.group.gpu.gpus
        each_w = self.group.rated_w / every
        temps = [card.temp_c for card in cards if card.temp_c is not None]
        return Reading(
            at=now,
            power_w=boards_w * (1 + HOST_SHARE) * (1 + GPU_AUX),
            temp_c=max(temps) if temps else None,
            devices=every,
            devices_heard=min(len(measured), every),
            silent_w=max(0, every - len(measured)) * each_w * (1 + GPU_AUX),
            estimated_w=boards_w * HOST_SHARE * (1 + GPU_AUX),
        )

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        return Applied("its replicas are placed and drained")

    async def close(self) -> None:
        """Nothing is held."""
