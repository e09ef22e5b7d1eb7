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
from tieline.study.alternatives import CATEGORIES, PHYSICAL, Block
from tieline.study.drivers import BLOCK, Drivers, correlation, draw
from tieline.study.file import Study
from tieline.study.interpolate import ALL, Coupling
from tieline.study.loans import Loans, operating
from tieline.study.money import discounting, irr, payback
from tieline.study.surface import StudySurfaces

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlanPaths:
    """One plan on all paths, in the study's currency. `worth` (paths, categories) is each category's net present value;
    `cash` (paths, months) all of it and the opening position, less what lenders hold back; `added_rate` the internal
    rate of what the plan adds to the first one, before loans."""

    worth: Floats
    cash: Floats
    added_rate: Floats
    added_several: Floats
    payback: Floats
    # The first month in which a covenant on debt service, or on loan to value, is broken; nan: never.
    cover_broken: Floats
    value_broken: Floats
    # The first month of a breach that the plan does not survive.
    stops: Floats
    mwh: Floats
    btc: Floats
    tokens: Floats

    @property
    def npv(self) -> Floats:
        return np.asarray(self.worth.sum(axis=1))


_FIELDS: Final = tuple(PlanPaths.__dataclass_fields__)


@contextlib.contextmanager
def backend(jobs: int, scheduler: str | None) -> Iterator[joblib.Parallel]:
    """Where blocks are computed. Raises OSError where no scheduler answers."""
    if scheduler is None:
        yield joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        return
    from distributed import Client  # the extra `cluster`

    with Client(scheduler, timeout="10s"), joblib.parallel_config(backend="dask"):
        yield joblib.Parallel(n_jobs=-1, return_as="generator_unordered")


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
            # Each as it comes: what is interrupted has kept what it had.
            for n, arrays in parallel(joblib.delayed(numbered)(study, surfaces, n) for n in waiting):
                _write(folder / f"{n}.npz", arrays)
    blocks = [_read(folder / f"{n}.npz") for n in range(count)]
    return [joined([block[str(p)] for block in blocks]) for p in range(len(study.plan))]


def joined(parts: list[dict[str, Floats]]) -> PlanPaths:
    """Blocks of one plan, one after another; what is a mean over paths is one over all of them."""
    counts = [len(part["cash"]) for part in parts]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in _FIELDS if name not in PHYSICAL}
    for name in PHYSICAL:
        whole[name] = np.average([part[name] for part in parts], axis=0, weights=counts)
    return PlanPaths(**whole)


def numbered(study: Study, surfaces: StudySurfaces, number: int) -> tuple[int, dict[str, dict[str, Floats]]]:
    """Blocks come in the order in which they are done."""
    return number, block_of(study, surfaces, number)


def block_of(study: Study, surfaces: StudySurfaces, number: int) -> dict[str, dict[str, Floats]]:
    """One block by plan."""
    return on(study, surfaces, draw(study, number, len(surfaces.markets)))


def on(
    study: Study, surfaces: StudySurfaces, drivers: Drivers, coupling: Coupling = ALL
) -> dict[str, dict[str, Floats]]:
    """All plans on given paths."""
    block = Block(study, surfaces, drivers, coupling)
    factors = discounting(study.money.discount, study.months)
    runs: dict[str, dict[str, Floats]] = {}
    first: Floats | None = None
    for n, plan in enumerate(study.plan):
        cash = block.cash(plan)
        bare = cash.total
        first = bare if first is None else first
        loans = Loans(block, plan)
        broken = loans.tested(operating(cash), cash.value)
        cash.by["loans"] += loans.cash + broken.called
        held = np.diff(broken.trapped, axis=1, prepend=0.0)
        added = irr(bare - first) if n else None
        none = np.full(block.paths, np.nan)
        runs[str(n)] = {
            "worth": np.stack([(cash.by[name] * factors).sum(axis=1) for name in CATEGORIES], axis=1),
            "cash": bare + loans.cash + broken.called + loans.opening + broken.called_opening - held,
            "added_rate": none if added is None else added.rate,
            "added_several": none * 0 if added is None else added.several.astype(float),
            "payback": none if added is None else payback(bare - first),
            "cover_broken": broken.cover,
            "value_broken": broken.value,
            "stops": broken.stops,
            "mwh": cash.mwh,
            "btc": cash.btc,
            "tokens": cash.tokens,
        }
    return runs


def worth(block: Block, number: int) -> Floats:
    """(paths,) net present value of one plan, loans included."""
    study, plan = block.study, block.study.plan[number]
    factors = discounting(study.money.discount, study.months)
    cash = block.cash(plan)
    value: Floats = (cash.total + Loans(block, plan).lent(cash)) @ factors
    return value


def worth_added(block: Block, number: int) -> Floats:
    """(paths,) net present value of what one plan adds to the first, loans included."""
    study, plan, first = block.study, block.study.plan[number], block.study.plan[0]
    factors = discounting(study.money.discount, study.months)
    ours, others = Loans(block, plan), Loans(block, first)
    if ours.may_call or others.may_call:
        return worth(block, number) - worth(block, 0)
    value: Floats = (block.added(plan, first) + ours.cash - others.cash) @ factors
    return value


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
    runs: dict[str, dict[str, Floats]] = {}
    with np.load(path) as file:
        for key in file.files:
            plan, _, name = key.partition("/")
            runs.setdefault(plan, {})[name] = file[key]
    return runs
