"""Markets, peak rules and reserves that a configuration may name: the package's, and the files it adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tieline.config.lines import MistakeError, Where, did_you_mean
from tieline.fleet.markets import Market, MarketsError, load_markets, shipped
from tieline.fleet.peaks import PeakRule, PeaksError, load_peaks, shipped_rules
from tieline.fleet.reserves import ReserveProduct, ReservesError, load_reserves, shipped_reserves
from tieline.fleet.sites import Contract, Site


@dataclass(frozen=True)
class Tables:
    """`own_markets`, `own_rules`, `own_products`: what the configuration's files say; they stand over the package's."""

    own_markets: Mapping[str, Market]
    own_rules: Mapping[str, PeakRule]
    own_products: Mapping[str, ReserveProduct]

    @classmethod
    def read(cls, markets: str | None, peaks: str | None, reserves: str | None, base: Path) -> Tables:
        """Files are named relative to `base`. Raises MistakeError."""
        try:
            own = {} if markets is None else load_markets(base / markets)
        except MarketsError as error:
            raise MistakeError(("fleet", "markets"), str(error), "correct that file, or leave markets out") from error
        try:
            rules = {} if peaks is None else load_peaks(base / peaks)
        except PeaksError as error:
            raise MistakeError(("fleet", "peaks"), str(error), "correct that file, or leave peaks out") from error
        try:
            products = {} if reserves is None else load_reserves(base / reserves)
        except ReservesError as error:
            raise MistakeError(("fleet", "reserves"), str(error), "correct that file, or leave reserves out") from error
        return cls(own, rules, products)

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
