"""All paths of all plans, in blocks, over processes here or over machines.

A block is a function of the study, its surfaces and its number, so its bytes do not depend on who computes it. Finished
blocks stay on disk: what was interrupted goes on where it stopped. Written once against joblib; with a scheduler its
Dask backend takes the blocks, and no job system is ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib
import msgspec
import numpy as np
from numpy.typing import NDArray

import tieline
from tieline.study.alternatives import ALL, CATEGORIES, OPERATING, Block, Coupling
from tieline.study.drivers import BLOCK, Drivers, correlation, draw
from tieline.study.file import CapitalPlan, Study
from tieline.study.money import cover, discounting, irr, payback, service
from tieline.study.surface import StudySurfaces

Floats = NDArray[np.float64]

# A block of a study of forty sites and six plans takes about this much memory in each process.
LOWEST: Final = ("lowest_usd", "lowest_month")


@dataclass(frozen=True)
class PlanPaths:
    """One plan on all paths. `worth` (paths, categories) is each category's net present value; `cash` (paths, months)
    all of it; `added_rate` the internal rate of what the plan adds to the first one, before loans."""

    worth: Floats
    cash: Floats
    added_rate: Floats
    added_several: Floats
    payback: Floats
    cover_broken: Floats  # the first month in which a loan's covenant is broken; nan: never
    mwh: Floats
    btc: Floats

    @property
    def npv(self) -> Floats:
        return np.asarray(self.worth.sum(axis=1))


_FIELDS: Final = tuple(PlanPaths.__dataclass_fields__)


@contextlib.contextmanager
def backend(jobs: int, scheduler: str | None) -> Iterator[joblib.Parallel]:
    """Where blocks are computed. Raises OSError where no scheduler answers."""
    if scheduler is None:
        yield joblib.Parallel(n_jobs=jobs)
        return
    from distributed import Client  # the extra `cluster`

    with Client(scheduler, timeout="10s"), joblib.parallel_config(backend="dask"):
        yield joblib.Parallel(n_jobs=-1)


def run(
    study: Study, surfaces: StudySurfaces, cache: Path, jobs: int = 1, scheduler: str | None = None
) -> list[PlanPaths]:
    """Each plan on all paths, in the file's order. Raises MistakeError."""
    correlation(study)  # said before anything is computed
    count = -(-study.paths // BLOCK)
    folder = cache / "blocks" / _digest(study, surfaces)
    waiting = [n for n in range(count) if not (folder / f"{n}.npz").exists()]
    if waiting:
        folder.mkdir(parents=True, exist_ok=True)
        with backend(jobs, scheduler) as parallel:
            for n, arrays in zip(
                waiting, parallel(joblib.delayed(block_of)(study, surfaces, n) for n in waiting), strict=True
            ):
                _write(folder / f"{n}.npz", arrays)
    blocks = [_read(folder / f"{n}.npz") for n in range(count)]
    return [joined([block[str(p)] for block in blocks]) for p in range(len(study.plan))]


def joined(parts: list[dict[str, Floats]]) -> PlanPaths:
    """Blocks of one plan, one after another; what is a mean over paths is one over all of them."""
    counts = [len(part["cash"]) for part in parts]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in _FIELDS if name not in ("mwh", "btc")}
    for name in ("mwh", "btc"):
        whole[name] = np.average([part[name] for part in parts], axis=0, weights=counts)
    return PlanPaths(**whole)


def block_of(study: Study, surfaces: StudySurfaces, number: int) -> dict[str, dict[str, Floats]]:
    """One block by plan."""
    return on(study, surfaces, draw(study, number, len(surfaces.markets)))


def on(
    study: Study, surfaces: StudySurfaces, drivers: Drivers, coupling: Coupling = ALL
) -> dict[str, dict[str, Floats]]:
    """All plans on given paths."""
    block = Block(study, surfaces, drivers, coupling)
    factors = discounting(study.money.discount, study.months)
    found: dict[str, dict[str, Floats]] = {}
    first: Floats | None = None
    for n, plan in enumerate(study.plan):
        cash = block.cash(plan)
        bare = cash.total
        first = bare if first is None else first
        loans = loans_of(study, plan)
        cash.by["loans"] += loans
        total = bare + loans
        added = irr(bare - first) if n else None
        none = np.full(block.paths, np.nan)
        operating = np.sum([cash.by[name] for name in OPERATING], axis=0)
        found[str(n)] = {
            "worth": np.stack([(cash.by[name] * factors).sum(axis=1) for name in CATEGORIES], axis=1),
            "cash": total,
            "added_rate": none if added is None else added.rate,
            "added_several": none * 0 if added is None else added.several.astype(float),
            "payback": none if added is None else payback(bare - first),
            "cover_broken": _broken(study, plan, operating, loans),
            "mwh": cash.mwh,
            "btc": cash.btc,
        }
    return found


def worth(block: Block, number: int) -> Floats:
    """(paths,) net present value of one plan, loans included."""
    study, plan = block.study, block.study.plan[number]
    factors = discounting(study.money.discount, study.months)
    found: Floats = block.cash(plan).total @ factors + loans_of(study, plan) @ factors
    return found


def worth_added(block: Block, number: int) -> Floats:
    """(paths,) net present value of what one plan adds to the first, loans included."""
    study, plan, first = block.study, block.study.plan[number], block.study.plan[0]
    factors = discounting(study.money.discount, study.months)
    loans = loans_of(study, plan) - loans_of(study, first)
    found: Floats = block.added(plan, first) @ factors + loans @ factors
    return found


def loans_of(study: Study, plan: CapitalPlan) -> Floats:
    """(months,) of all loans that the plan has."""
    found = np.zeros(study.months)
    for loan in study.loan:
        if loan.plan in ("", plan.name):
            found += service(loan, study)
    return found


def _broken(study: Study, plan: CapitalPlan, operating: Floats, loans: Floats) -> Floats:
    floors = [
        one.cover_at_least for one in study.loan if one.plan in ("", plan.name) and one.cover_at_least is not None
    ]
    if not floors:
        return np.full(len(operating), np.nan)
    below = cover(operating, np.minimum(0.0, loans)) < max(floors)
    # A covenant is tested on a whole year of service.
    begun = np.flatnonzero(loans < 0)
    below[:, : (int(begun[0]) + 12 if len(begun) else study.months)] = False
    return np.where(below.any(axis=1), np.argmax(below, axis=1), np.nan)


def _digest(study: Study, surfaces: StudySurfaces) -> str:
    sha = hashlib.sha256(msgspec.json.encode(study))
    sha.update(surfaces.digest.encode() + tieline.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()[:24]


def _write(path: Path, block: dict[str, dict[str, Floats]]) -> None:
    flat: dict[str, Any] = {f"{plan}/{name}": values for plan, one in block.items() for name, values in one.items()}
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **flat)
    os.replace(part, path)


def _read(path: Path) -> dict[str, dict[str, Floats]]:
    found: dict[str, dict[str, Floats]] = {}
    with np.load(path) as file:
        for key in file.files:
            plan, _, name = key.partition("/")
            found.setdefault(plan, {})[name] = file[key]
    return found
