"""Rig and GPU models as facts.

Rigs: makers' ratings (hashrate and wall power at about 25 C; machines vary by a few per cent), compiled from
public specification lists. GPU nodes: makers' rated power and published measurements; `dispatch` takes its
throughput tables from measured files, not from here.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Cooling = Literal["air", "hydro", "immersion"]


class RigModel(msgspec.Struct, frozen=True):
    """One ASIC miner as its maker rates it."""

    vendor: str
    name: str
    cooling: Cooling
    hashrate_ths: float
    power_w: float
    release_year: int

    @property
    def efficiency_j_th(self) -> float:
        return self.power_w / self.hashrate_ths


class GpuModel(msgspec.Struct, frozen=True):
    """A GPU server as dispatch sees it: power at the wall before site cooling."""

    name: str
    gpus: int
    rated_w: float
    idle_w: float
    source: str


_RIGS = (
    RigModel("Bitmain", "Antminer S9", "air", 13.5, 1323.0, 2016),
    RigModel("Bitmain", "Antminer S17e", "air", 64.0, 2880.0, 2019),
    RigModel("Bitmain", "Antminer S19", "air", 95.0, 3250.0, 2020),
    RigModel("Bitmain", "Antminer S19 Pro", "air", 110.0, 3250.0, 2020),
    RigModel("Bitmain", "Antminer S19a Pro", "air", 110.0, 3245.0, 2021),
    RigModel("Bitmain", "Antminer S19j Pro", "air", 104.0, 3068.0, 2021),
    RigModel("Bitmain", "Antminer S19j Pro+", "air", 122.0, 3355.0, 2022),
    RigModel("Bitmain", "Antminer S19k Pro", "air", 120.0, 2760.0, 2023),
    RigModel("Bitmain", "Antminer S19 XP", "air", 140.0, 3010.0, 2022),
    RigModel("Bitmain", "Antminer S19 XP+ Hyd", "hydro", 279.0, 5301.0, 2023),
    RigModel("Bitmain", "Antminer S21", "air", 200.0, 3500.0, 2023),
    RigModel("Bitmain", "Antminer S21 Hyd", "hydro", 335.0, 5360.0, 2024),
    RigModel("Bitmain", "Antminer S21 Immersion", "immersion", 301.0, 5569.0, 2024),
    RigModel("Bitmain", "Antminer S21 Pro", "air", 234.0, 3510.0, 2024),
    RigModel("Bitmain", "Antminer S21+", "air", 216.0, 3564.0, 2024),
    RigModel("Bitmain", "Antminer S21+ Hyd", "hydro", 319.0, 4785.0, 2024),
    RigModel("Bitmain", "Antminer S21 XP", "air", 270.0, 3645.0, 2024),
    RigModel("Bitmain", "Antminer S21 XP Hyd", "hydro", 473.0, 5676.0, 2024),
    RigModel("Bitmain", "Antminer S21 XP+ Hyd", "hydro", 500.0, 5500.0, 2025),
    RigModel("Bitmain", "Antminer S21e XP Hyd 3U", "hydro", 860.0, 11180.0, 2024),
    RigModel("MicroBT", "Whatsminer M30S", "air", 88.0, 3344.0, 2020),
    RigModel("MicroBT", "Whatsminer M30S+", "air", 100.0, 3400.0, 2020),
    RigModel("MicroBT", "Whatsminer M30S++", "air", 106.0, 3472.0, 2020),
    RigModel("MicroBT", "Whatsminer M31S+", "air", 80.0, 3360.0, 2020),
    RigModel("MicroBT", "Whatsminer M50", "air", 118.0, 3422.0, 2022),
    RigModel("MicroBT", "Whatsminer M50S", "air", 126.0, 3276.0, 2022),
    RigModel("MicroBT", "Whatsminer M56S++", "immersion", 242.0, 5324.0, 2023),
    RigModel("MicroBT", "Whatsminer M60", "air", 172.0, 3423.0, 2023),
    RigModel("MicroBT", "Whatsminer M60S", "air", 186.0, 3422.0, 2023),
    RigModel("MicroBT", "Whatsminer M60S+", "air", 200.0, 3600.0, 2024),
    RigModel("Canaan", "Avalon A1166 Pro", "air", 81.0, 3402.0, 2020),
    RigModel("Canaan", "Avalon A1246", "air", 90.0, 3420.0, 2021),
    RigModel("Canaan", "Avalon A1566", "air", 185.0, 3420.0, 2024),
)

# Whose words a rig may speak: "stock" and "auto" ask it which; the others are spoken without asking.
FIRMWARES = (
    "stock", "auto", "antminer", "antminer-2019", "luxos", "braiins", "vnish", "whatsminer-v2", "whatsminer-v3",
    "other",
)  # fmt: skip
RIG_MODELS: dict[str, RigModel] = {rig.name: rig for rig in _RIGS}

# Rated 10.2 kW for eight H100 SXM in one chassis (NVIDIA DGX H100 data sheet); idle 2.3 kW is an assumption.
GPU_MODELS: dict[str, GpuModel] = {
    "8xH100": GpuModel("8xH100", 8, 10_200.0, 2_300.0, "NVIDIA DGX H100 data sheet; idle assumed"),
}
