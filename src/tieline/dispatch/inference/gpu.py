"""What one model server draws and yields, from a measured table with its source.

Knows nothing of sites. Between rows, power follows throughput linearly; below the first row it runs down to
idle. No figure of a GPU stands in code: `bench/gpu_power.py` measures a table on any NVIDIA machine.
"""

from __future__ import annotations

import bisect
from functools import lru_cache
from importlib import resources
from pathlib import Path

import msgspec


class GpuTable(msgspec.Struct, frozen=True, kw_only=True):
    """One model server (replica) as measured: rows of (batch, output tokens/s, board W, ITL p95 ms)."""

    name: str
    model: str
    gpu: str
    gpus: int
    source: str
    host_share: float
    idle_w: float
    load_s_warm: float
    load_s_cold: float
    rows: tuple[tuple[float, float, float, float | None], ...]
    columns: tuple[str, ...] = ()
    host_source: str = ""
    idle_source: str = ""
    load_source: str = ""
    asleep_w: float | None = None
    power_cap_w: float | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError(f"GPU table {self.name!r} has no rows; measure one with bench/gpu_power.py")
        speeds = [row[1] for row in self.rows]
        if speeds != sorted(speeds) or speeds[0] <= 0:
            raise ValueError(f"GPU table {self.name!r}: rows must rise in output_tokens_per_s, from above 0")

    def tokens_per_s(self, batch: int) -> float:
        """Output tokens per second at the largest measured batch that is not above `batch`."""
        fits = [row[1] for row in self.rows if row[0] <= batch]
        return fits[-1] if fits else self.rows[0][1]

    def power_w(self, tokens_per_s: float) -> float:
        """Wall power of one replica before site cooling, host included, at an average throughput."""
        speeds = [0.0, *(row[1] for row in self.rows)]
        watts = [self.idle_w, *(row[2] * (1.0 + self.host_share) for row in self.rows)]
        if tokens_per_s >= speeds[-1]:
            return watts[-1]
        right = max(1, bisect.bisect_right(speeds, max(0.0, tokens_per_s)))
        part = (max(0.0, tokens_per_s) - speeds[right - 1]) / (speeds[right] - speeds[right - 1])
        return watts[right - 1] + part * (watts[right] - watts[right - 1])


@lru_cache(maxsize=16)
def load_table(name: str) -> GpuTable:
    """A table of this package by its name, or any by its path. Raises ValueError naming what is wrong."""
    path = Path(name)
    try:
        if path.suffix == ".json":
            body = path.read_bytes()
        else:
            body = resources.files("tieline.dispatch").joinpath(f"tables/{name}.json").read_bytes()
    except OSError as error:
        raise ValueError(f"no GPU table {name!r}: {error}; give a table's name or the path of a JSON file") from error
    try:
        return msgspec.json.decode(body, type=GpuTable)
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f"GPU table {name!r}: {error}") from error
