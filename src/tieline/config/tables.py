"""Markets, peak rules and reserves that a configuration may name: the package's, and the files it adds to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tieline.config.lines import MistakeError, Where, did_you_mean
from tieline.fleet.markets import Market, load_markets, shipped
from tieline.fleet.peaks import PeakRule, load_peaks, shipped_rules
from tieline.fleet.reserves import ReserveProduct, load_reserves, shipped_reserves
from tieline.fleet.sites import Contract, Site
from tieline.fleet.tables import TableError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Tables:
    """`own_markets`, `own_rules`, `own_products`: what the configuration's files say; they stand over the package's."""

    own_markets: Mapping[str, Market]
    own_rules: Mapping[str, PeakRule]
    own_products: Mapping[str, ReserveProduct]

    @classmethod
    def read(cls, markets: str | None, peaks: str | None, reserves: str | None, base: Path) -> Tables:
        """Files are named relative to `base`. Raises MistakeError."""
        return cls(
            _own(base, "markets", markets, load_markets),
            _own(base, "peaks", peaks, load_peaks),
            _own(base, "reserves", reserves, load_reserves),
        )

    def check_site(self, site: Site, at: Where) -> None:
        """Raises MistakeError for a market, a peak rule or a reserve that no table has."""
        what = f"site {site.id!r} "
        self.check_contract(site.contract, at, what)
        known = {**shipped_reserves(), **self.own_products}
        for name in site.reserves:
            if name not in known:
                raise MistakeError((*at, "reserves"), f"no reserve {name!r}", did_you_mean(name, known), what)

    def check_contract(self, contract: Contract, at: Where, what: str) -> None:
        """Raises MistakeError for a market or a peak rule that no table has."""
        known = {**shipped(), **self.own_markets}
        for key, name in contract.named_markets():
            if name not in known:
                fix = f"{did_you_mean(name, known)} `tieline markets` lists them; others go into a file of your own"
                raise MistakeError((*at, "contract", key), f"no market {name!r}", fix, what)
        self.check_rules((*at, "contract", "peak_rules"), contract.peak_rules or (), what)

    def check_rules(self, at: Where, names: Iterable[str], what: str = "") -> None:
        known = {**shipped_rules(), **self.own_rules}
        for name in names:
            if name not in known:
                raise MistakeError(at, f"no peak rule {name!r}", did_you_mean(name, known), what)


def _own(base: Path, key: str, file: str | None, load: Callable[[Path], dict[str, Row]]) -> dict[str, Row]:
    """What the file says that a fleet names under `key`. Raises MistakeError."""
    try:
        return {} if file is None else load(base / file)
    except TableError as error:
        raise MistakeError(("fleet", key), str(error), f"correct that file, or leave {key} out") from error
