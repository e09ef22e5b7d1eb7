"""Surfaces between their points: at any hashprice, in any room, beside any share of nodes.

Along the hashprice a surface is a line, but for the bill: hashes that come between two levels come each at the level
that pays their power, not at the mean of the two. Along the room hashes follow the site's own order of merit, since the
best rigs, in low mode, have what room there is first; room beyond what all rigs draw changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tieline.study.surface import MONTH_H, SiteSurface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What a month of a site needs of a surface, in the order of its columns.
READ: Final = ("ph_days", "power_usd", "peaks_usd", "wear_usd", "mwh")
# Of nodes beside the rigs, by themselves.
OWN: Final = ("tokens", "gpu_mwh", "gpu_usd")
_HASHES, _BILL, _MWH = 0, 1, 4


@dataclass(frozen=True)
class Coupling:
    """What is left out to see what it is worth. `curtails`: rigs follow dispatch, else they never rest. `shares`: rigs
    use the power that computers do not draw at the moment, else only what they could never draw. `avoids_peaks`: they
    rest in coincident peaks, else they pay those as rigs that never rest."""

    curtails: bool = True
    shares: bool = True
    avoids_peaks: bool = True


ALL: Final = Coupling()


class SurfaceReading:
    """A surface at (paths, months) of hashprice and room: nothing at 0 of either, and beyond the highest level as at
    it, where every rig runs. With hashes linear in hashprice the bill is (difference of hashes) x (width) x t (1 - t) /
    2 below a line, t of the way. `month`: (months,) of the year, 0 to 11."""

    def __init__(
        self, surface: SiteSurface, month: Ints, level: Floats, room: Floats, coupling: Coupling = ALL
    ) -> None:
        levels, rooms = len(surface.levels) + 1, len(surface.rooms) + 1
        low, level_share = _place(surface.levels, level)
        # A row of the table is a month, a room and a level: all that is read lies side by side.
        table = _table(surface, coupling).reshape(12 * rooms * levels, len(READ))
        row = month * (rooms * levels) + low
        width = np.diff(surface.levels, prepend=0.0)[low]
        if np.all(room >= surface.rooms[-1]):
            self.values = _between(table, row + (rooms - 1) * levels, level_share, width)
            return
        at = _RoomPlace.of(surface, month, room)
        row += at.base * levels
        near, far = (_between(table, row + more, level_share, width) for more in (0, levels))
        far -= near
        far *= at.share[..., None]
        self.values = near + far
        self.values[..., _HASHES] *= at.gain

    def __call__(self, name: str) -> Floats:
        return self.values[..., READ.index(name)]


@dataclass(frozen=True)
class NodesReading:
    """Nodes at (paths, months) of hashprice and share of the limit: `own` what they serve, draw and pay; `more`
    (paths, months, columns) what rigs and nodes do together beyond the two apart: the nodes' own, and rigs in the room
    that their mean draw leaves. Linear in the share, beyond the last one too; below the lowest level as at it."""

    own: dict[str, Floats]
    more: Floats

    @classmethod
    def of(cls, surface: SiteSurface, month: Ints, level: Floats, share: Floats) -> NodesReading:
        table = np.concatenate([_together(surface), np.stack([surface.beside[name] for name in OWN], axis=-1)], axis=-1)
        table = np.concatenate([table[:, :, :1], table], axis=2)  # at no hashprice as at the lowest
        table = np.concatenate([np.zeros_like(table[:, :1]), table], axis=1)
        low, t = _place(surface.levels, level)
        base, s = _place(surface.shares, share, beyond=True)
        near, far = (
            table[month, base + more, low] * (1.0 - t[..., None]) + table[month, base + more, low + 1] * t[..., None]
            for more in (0, 1)
        )
        value = near + (far - near) * s[..., None]
        own = {name: value[..., len(READ) + n] for n, name in enumerate(OWN)}
        more = value[..., : len(READ)]
        more[..., _BILL] += own["gpu_usd"]
        more[..., _MWH] += own["gpu_mwh"]
        return cls(own, more)


def _together(surface: SiteSurface) -> Floats:
    """(12, shares, levels, columns) of rigs and nodes run together, less the nodes' own bill and energy, less rigs in
    the room that the nodes' mean draw leaves."""
    stacked = np.stack([surface.beside[name] for name in READ], axis=-1)
    stacked[..., _BILL] -= surface.beside["gpu_usd"]
    stacked[..., _MWH] -= surface.beside["gpu_mwh"]
    alone = np.stack([surface.at[name] for name in READ], axis=-1)
    alone = np.concatenate([np.zeros_like(alone[:, :1]), alone], axis=1)
    month, level = np.arange(12)[:, None], np.arange(len(surface.levels))[None, :]
    for n in range(len(surface.shares)):
        left = 1.0 - surface.beside["gpu_mwh"][:, n] / (surface.limit_mw * MONTH_H)
        at = _RoomPlace.of(surface, month, left)
        near, far = (alone[month, at.base + more, level] for more in (0, 1))
        rigs = near + (far - near) * at.share[..., None]
        rigs[..., _HASHES] *= at.gain
        stacked[:, n] -= rigs
    return stacked


@dataclass(frozen=True)
class _RoomPlace:
    """Where rooms stand between those of a surface: the lower one, how far towards the next, and by how much the site's
    order of merit lifts hashes above a line."""

    base: Ints
    share: Floats
    gain: Floats

    @classmethod
    def of(cls, surface: SiteSurface, month: Ints, room: Floats) -> _RoomPlace:
        """`month` of the year, 0 to 11, as far as it varies with the room's axes."""
        # Of the limit, what rigs that never rest draw.
        fill = np.clip(surface.always["mwh"][:, -1] / (surface.limit_mw * MONTH_H), 1e-6, 1.0)
        grid = np.minimum(np.concatenate([[0.0], surface.rooms])[None, :], fill[:, None]) / fill[:, None]
        at = np.minimum(room, fill[month]) / fill[month]
        base = np.clip((at[..., None] >= grid[month][..., 1:]).sum(axis=-1), 0, len(surface.rooms) - 1)
        low, high = grid[month, base], grid[month, base + 1]
        wide = high - low > 1e-9
        share = np.clip(np.where(wide, (at - low) / np.where(wide, high - low, 1.0), 1.0), 0.0, 1.0)
        merit = np.interp(np.stack([low, high, at]), surface.merit[0], surface.merit[1])
        line = merit[0] + (merit[1] - merit[0]) * share
        return cls(base.astype(np.int64), share, np.where(line > 1e-9, merit[2] / np.maximum(line, 1e-9), 1.0))


def _table(surface: SiteSurface, coupling: Coupling) -> Floats:
    """(12, rooms + 1, levels + 1, columns), nothing at no room and at no hashprice; rigs that never rest do at every
    hashprice what they do at one."""
    table = np.zeros((12, len(surface.rooms) + 1, len(surface.levels) + 1, len(READ)))
    for n, name in enumerate(READ):
        if coupling.curtails and (coupling.avoids_peaks or name != "peaks_usd"):
            table[:, 1:, 1:, n] = surface.at[name]
        else:
            table[:, 1:, :, n] = surface.always[name][:, :, None]
    return table


def _between(table: Floats, row: Ints, share: Floats, width: Floats) -> Floats:
    """(paths, months, columns) between each row and the next, which are `width` of hashprice apart."""
    low = table[row]
    value = table[row + 1]
    value -= low
    value *= share[..., None]
    value[..., _BILL] -= value[..., _HASHES] * (1.0 - share) * width / 2.0
    value += low
    return value


def _place(grid: Floats, at: Floats, beyond: bool = False) -> tuple[Ints, Floats]:
    """Where in (0, *grid) each value stands, and how far towards the next; `beyond`: also past the last."""
    whole = np.concatenate([[0.0], grid])
    low = np.clip(np.searchsorted(whole, at, side="right") - 1, 0, len(whole) - 2)
    share = np.clip((at - whole[low]) / np.diff(whole)[low], 0.0, np.inf if beyond else 1.0)
    return low.astype(np.int64), share
