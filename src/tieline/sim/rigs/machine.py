"""A fake rig as a machine: what it draws and hashes, how long it wakes and boots, and what is wrong with it.

Knows no protocol: every firmware's fake says what this machine says. `power_w` is the truth, `said_w` what it tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tieline.fleet.models import RigModel
from tieline.fleet.physics import REBOOT_S, RIG_MODES, WAKE_S

FaultName = Literal[
    "stuck",  # takes every order, says yes and does nothing
    "refuse",  # answers every order with no
    "hang",  # accepts and never answers
    "unreachable",  # resets every connection
    "half_frame",  # answers half and closes
    "flood",  # answers without end
    "html",  # answers a page
    "slow_wake",
    "wrong_readback",  # says that it draws in full, whatever it draws
    "says_asleep",  # says that it sleeps, whatever it draws
    "no_watts",  # its firmware does not tell watts
]

# A rig's own power reading wanders by about this share, and so does its true draw.
NOISE = 0.005
BOARDS = 3


@dataclass(slots=True)
class Machine:
    """One fake rig. `seconds` is a monotonic clock that the owner gives."""

    address: str
    model: RigModel
    seconds: Callable[[], float]
    firmware: str = "luxos"
    wake: Literal["fast", "slow"] = "fast"
    noise: float = 0.0
    asleep: bool = False
    woken_at: float = float("-inf")
    limit_w: float | None = None
    profile: str = "default"
    boards_lost: int = 0
    pool: str = "stratum+tcp://pool.simulated:3333"
    worker: str = ""
    backups: list[tuple[str, str]] = field(default_factory=list)  # pools behind the first: URL, worker
    bare: bool = False  # its pools went with their group, and none was given since
    mac: str = ""
    faults: set[FaultName] = field(default_factory=set)
    says: dict[str, object] = field(default_factory=dict)  # a field's name -> what it says instead
    session: str = ""
    calls: int = 0
    starts: int = 0
    light: bool = False

    def __post_init__(self) -> None:
        """MAC (locally administered) and worker follow from the address unless they were given."""
        parts = [int(part) for part in self.address.split(".")]
        self.mac = self.mac or "02:00:" + ":".join(f"{part:02x}" for part in parts)
        self.worker = self.worker or f"simulated.{parts[2]}x{parts[3]}"

    @property
    def serial(self) -> str:
        return "SIM" + self.mac.replace(":", "").upper()

    @property
    def hashing(self) -> bool:
        """A waking rig draws from the first second and hashes later."""
        wait_s = WAKE_S["slow" if "slow_wake" in self.faults else self.wake]
        return not self.asleep and self.seconds() - self.woken_at >= wait_s

    @property
    def share(self) -> float:
        """Of its rated power while it runs."""
        most = 1.0 if self.limit_w is None else min(1.0, self.limit_w / self.model.power_w)
        return most * (1 - self.boards_lost / BOARDS)

    @property
    def power_w(self) -> float:
        """What it truly draws."""
        if self.asleep or self.seconds() < self.woken_at:
            return RIG_MODES["sleep"].fixed_w
        wander = random.uniform(-self.noise, self.noise) if self.noise else 0.0
        return self.model.power_w * self.share * (1 + wander)

    @property
    def said_w(self) -> float:
        """What it says it draws."""
        if "wrong_readback" in self.faults:
            return self.model.power_w
        if "says_asleep" in self.faults:
            return RIG_MODES["sleep"].fixed_w
        return self.power_w

    @property
    def says_sleep(self) -> bool:
        return self.asleep or "says_asleep" in self.faults

    @property
    def hashrate_ths(self) -> float:
        """Hashrate falls slower than power: 80 % of it at 72 % of the power."""
        if not self.hashing or "says_asleep" in self.faults:
            return 0.0
        low = RIG_MODES["low"]
        slope = (1 - low.hash_share) / (1 - low.power_share)
        limited = 1.0 if self.limit_w is None else min(1.0, self.limit_w / self.model.power_w)
        return self.model.hashrate_ths * (1 - slope * (1 - limited)) * (1 - self.boards_lost / BOARDS)

    @property
    def rate_ghs(self) -> float:
        return self.hashrate_ths * 1e3

    def pause(self) -> bool:
        """False: it says no."""
        if "refuse" in self.faults:
            return False
        if "stuck" not in self.faults:
            self.asleep = True
        return True

    def resume(self) -> bool:
        if "refuse" in self.faults:
            return False
        if "stuck" not in self.faults and self.asleep:
            self.asleep, self.woken_at = False, self.seconds()
            self.starts += 1
        return True

    def limit(self, watts: float | None) -> bool:
        if "refuse" in self.faults:
            return False
        if "stuck" not in self.faults:
            self.limit_w = watts
        return True

    @property
    def pools(self) -> list[tuple[str, str]]:
        """URL and worker, by priority."""
        return [] if self.bare else [(self.pool, self.worker), *self.backups]

    def set_pools(self, pools: list[tuple[str, str]]) -> bool:
        """False: it says no."""
        if "refuse" in self.faults or not pools:
            return False
        if "stuck" not in self.faults:
            (self.pool, self.worker), *self.backups = pools
            self.bare = False
        return True

    def reboot(self) -> None:
        """Off the net is the server's part; awake again, without limit and session, when it has booted."""
        self.asleep, self.limit_w, self.session, self.profile = False, None, "", "default"
        self.woken_at = self.seconds() + REBOOT_S
        self.starts += 1

    def told(self, name: str, value: object) -> object:
        """`value`, or what this rig says instead under `name`."""
        return self.says.get(name, value)
