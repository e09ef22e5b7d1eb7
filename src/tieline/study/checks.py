"""What of a study's file belongs together: dates, megawatts, names and terms, each refused with what to write."""

from __future__ import annotations

import difflib
from typing import Final

from tieline.config.lines import MistakeError
from tieline.fleet import RIG_MODELS
from tieline.study.file import Alternative, Assumption, Study, StudyLoan, StudySite

KeyPath = tuple[str | int, ...]


def check(study: Study) -> None:
    """Raises MistakeError."""
    _check_names(study)
    _check_assumed(study)
    for n, one in enumerate(study.alternative):
        _check_needs(study, one, ("alternative", n))
        _check_dates(study, one, ("alternative", n))
    _check_plans(study)
    _check_currencies(study)
    for n, loan in enumerate(study.loan):
        _check_loan(study, loan, ("loan", n))


def _check_loan(study: Study, loan: StudyLoan, at: KeyPath) -> None:
    if loan.opening == (loan.month is not None):
        problem = "an opening loan is owed from the start" if loan.opening else "missing"
        fix = "leave month out" if loan.opening else "write the month of its first draw, or opening = true"
        raise MistakeError((*at, "month"), problem, fix)
    if loan.month is not None and not 0 <= study.month(loan.month) < study.months:
        raise MistakeError((*at, "month"), f"{loan.month} is outside the study", "name one of its months")
    if loan.plan and loan.plan not in {plan.name for plan in study.plan}:
        raise MistakeError((*at, "plan"), f"there is no plan {loan.plan!r}", "name one, or leave it out: all")
    if max(loan.draw_months - 1, loan.interest_only_months) >= loan.term_months:
        raise MistakeError(
            (*at, "term_months"), "no month is left to repay in", "lengthen it, or shorten what comes before"
        )
    _check_security(study, loan, at)


def _check_security(study: Study, loan: StudyLoan, at: KeyPath) -> None:
    for name in loan.secured_by:
        if name not in {one.name for one in study.alternative}:
            raise MistakeError((*at, "secured_by"), f"there is no alternative {name!r}", "name an [[alternative]]")
    if loan.value_at_most is not None and not loan.secured_by and not loan.collateral_btc:
        raise MistakeError(
            (*at, "value_at_most"), "nothing secures this loan", "write secured_by = [...] or collateral_btc"
        )


def _check_currencies(study: Study) -> None:
    places: list[tuple[KeyPath, str]] = [(("money", "currency"), study.money.currency)]
    places += [(("site", n, "currency"), one.currency) for n, one in enumerate(study.site)]
    places += [(("alternative", n, "currency"), one.currency) for n, one in enumerate(study.alternative)]
    places += [(("loan", n, "currency"), one.currency) for n, one in enumerate(study.loan)]
    for at, code in places:
        if code != "USD" and code not in study.assume.fx:
            raise MistakeError(
                at, f"no exchange rate of {code} is assumed", f"add [assume.fx.{code}], USD for one {code}"
            )
    if "USD" in study.assume.fx:
        raise MistakeError(("assume", "fx", "USD"), "a dollar is a dollar", "leave it out")


def _check_names(study: Study) -> None:
    for what, items in (("site", study.site), ("alternative", study.alternative), ("plan", study.plan)):
        names = [item.id if isinstance(item, StudySite) else item.name for item in items]
        for n, name in enumerate(names):
            if name in names[:n]:
                raise MistakeError((what, n), f"{name!r} is there twice", "give each a name of its own")
    for what, items in (("site", study.site), ("plan", study.plan)):
        if not items:
            raise MistakeError((what,), "there is none", f"add a [[{what}]]")


def _check_assumed(study: Study) -> None:
    paths: list[tuple[KeyPath, Assumption]] = [
        (("assume", name), getattr(study.assume, name)) for name in ("btc_usd", "fee_share", "utilisation", "power")
    ]
    for at, one in [*paths, *((("assume", "fx", code), rate) for code, rate in study.assume.fx.items())]:
        if one.model in ("history", "table") and len(one.values) < (13 if one.model == "history" else 1):
            raise MistakeError((*at, "values"), f"a {one.model} needs more values", "write them, one a month")
        if at[-1] == "utilisation" and max(one.start, *one.values, 0.0) > 1.0:
            raise MistakeError((*at, "start"), f"{one.start:g} is no share", "write 95 % as 0.95")
    _check_correlations(study)
    for name in ("levels", "rooms", "gpu_shares"):
        grid = getattr(study.operation, name)
        if (not grid and name != "gpu_shares") or list(grid) != sorted(set(grid)):
            raise MistakeError(("operation", name), "does not rise", "write each value once, the smallest first")


def _check_correlations(study: Study) -> None:
    for n, (a, b, _) in enumerate(study.assume.correlations):
        for name in (a, b):
            if name not in study.drivers:
                words = ", ".join(study.drivers)
                raise MistakeError(
                    ("assume", "correlations", n), f"there is no driver {name!r}", f"write one of {words}"
                )
        if a == b:
            raise MistakeError(("assume", "correlations", n), f"{a} with itself is 1", "name two drivers")


_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "keep": (),
    "renew": ("usd_per_th", "start"),
    "gpu": ("mw", "start", "usd_per_node", "shell_usd_per_mw"),
    "contract": ("mw", "start", "term_months"),
    "lease": ("mw", "start", "term_months"),
    "sell": ("start", "sale_usd"),
}


def _check_needs(study: Study, one: Alternative, at: KeyPath) -> None:
    site = next((site for site in study.site if site.id == one.site), None)
    if site is None:
        raise MistakeError((*at, "site"), f"there is no site {one.site!r}", "name one of the [[site]]s")
    for name in _NEEDS[one.kind]:
        if getattr(one, name) is None:
            raise MistakeError((*at, name), "missing", f"a {one.kind} needs it: add {name} = ...")
    _check_rigs(one, at)
    _check_price(one, at)
    _check_tokens(study, one, site, at)
    if one.mw is not None and one.mw * (one.pue if one.is_compute else 1.0) > site.mw * 1.000001:
        drawn = one.mw * (one.pue if one.is_compute else 1.0)
        raise MistakeError(
            (*at, "mw"), f"draws {drawn:g} MW, the site has {site.mw:g}", "write MW, not kW, within the site"
        )


def _check_rigs(one: Alternative, at: KeyPath) -> None:
    if one.kind != "renew":
        return
    if bool(one.rig) == (one.j_per_th is not None):
        problem = "missing" if not one.rig else "has a rating of its own"
        raise MistakeError((*at, "j_per_th"), problem, "write j_per_th, or rig with a model's name")
    if one.rig and one.rig not in RIG_MODELS:
        near = difflib.get_close_matches(one.rig, RIG_MODELS, 3, 0.3) or sorted(RIG_MODELS)[:3]
        raise MistakeError((*at, "rig"), f"no model {one.rig!r} is known", f"write {', '.join(near)}, or j_per_th")


def _check_tokens(study: Study, one: Alternative, site: StudySite, at: KeyPath) -> None:
    if one.usd_per_million_tokens is None:
        return
    if one.kind != "gpu":
        raise MistakeError((*at, "usd_per_million_tokens"), f"a {one.kind} sells no tokens", "leave it out")
    share, most = (one.mw or 0.0) * one.pue / site.mw, max(study.operation.gpu_shares, default=0.0)
    if share > most * 1.000001:
        raise MistakeError(
            ("operation", "gpu_shares"),
            f"{one.name} takes {share:.2f} of {site.id}, and nodes are run up to {most:g}",
            f"write {-(-share * 100 // 1) / 100:g} or more as the last",
        )
    if study.operation.rooms[-1] < 1.0:
        raise MistakeError(("operation", "rooms"), "tokens are read beside rigs in all of the room", "end it with 1.0")


def _check_price(one: Alternative, at: KeyPath) -> None:
    prices = ["usd_per_gpu_hour", "usd_per_mw_year", "usd_per_mw_month"][one.kind == "lease" :]
    given = sum(getattr(one, name) is not None for name in prices)
    if one.kind in ("contract", "lease") and given != 1:
        problem = "has no price" if given == 0 else "has several prices"
        raise MistakeError((*at, prices[0]), f"the {one.kind} {problem}", f"write one of {', '.join(prices)}")
    if one.kind in ("contract", "lease") and not one.customer_pays_capex:
        for name in ("shell_usd_per_mw", *(("usd_per_node",) if one.kind == "contract" else ())):
            if getattr(one, name) is None:
                raise MistakeError((*at, name), "missing", "write what it costs, or customer_pays_capex = true")


def _check_wait(study: Study, one: Alternative, at: KeyPath) -> None:
    wait = one.wait
    if wait is None:
        return
    if wait.until is None and not wait.is_rule:
        raise MistakeError((*at, "wait"), "waits for nothing", "write until, below, above or hashprice_below")
    if sum(limit is not None for limit in (wait.below, wait.above, wait.hashprice_below)) > 1:
        raise MistakeError((*at, "wait"), "waits for two limits", "write below, above or hashprice_below")
    if wait.hashprice_below is not None and wait.of != "hashprice":
        raise MistakeError((*at, "wait", "hashprice_below"), f"of is {wait.of}", "write below instead")
    if wait.until is not None and not 0 <= study.month(wait.until) < study.months:
        raise MistakeError((*at, "wait", "until"), f"{wait.until} is outside the study", "name one of its months")


def _earliest(study: Study, one: Alternative) -> int:
    """The first month in which it may begin."""
    begin = 0 if one.start is None else study.month(one.start)
    until = None if one.wait is None else one.wait.until
    return begin if until is None else max(begin, study.month(until))


def _check_dates(study: Study, one: Alternative, at: KeyPath) -> None:
    _check_wait(study, one, at)
    if one.start is None:
        return
    start = study.month(one.start)
    if start < 0:
        raise MistakeError(
            (*at, "start"), f"{one.start} is before the study's {study.start}", "write a month of the study"
        )
    opens = _earliest(study, one) + one.months_to_build
    if one.delivers is not None and study.month(one.delivers) < opens:
        raise MistakeError(
            (*at, "delivers"),
            f"{one.delivers} is before its building stands, {study.label(opens)}",
            "promise it later, begin earlier, or shorten months_to_build",
        )
    site = next(site for site in study.site if site.id == one.site)
    if site.available_until is not None and one.term_months is not None:
        end = opens + one.term_months
        if end > study.month(site.available_until) + 1:
            raise MistakeError(
                (*at, "term_months"),
                f"runs to {study.label(end - 1)}, the site only to {site.available_until}",
                "shorten the term, or renew the site",
            )


def _check_plans(study: Study) -> None:
    known = {one.name: one for one in study.alternative}
    for n, plan in enumerate(study.plan):
        at: KeyPath = ("plan", n, "does")
        used: list[Alternative] = []
        for name in plan.does:
            if name not in known:
                raise MistakeError(at, f"there is no alternative {name!r}", "name one of the [[alternative]]s")
            used.append(known[name])
        for site in study.site:
            _check_site(study, site, [one for one in used if one.site == site.id], at)


def _check_site(study: Study, site: StudySite, here: list[Alternative], at: KeyPath) -> None:
    taken, month = _most_mw(study, [one for one in here if one.is_compute])
    if taken > site.mw * 1.000001:
        raise MistakeError(
            at,
            f"{site.id}: {taken:g} MW are asked of {site.mw:g} in {study.label(month)}",
            "take alternatives that fit, or one after the other",
        )
    for kind in ("keep", "renew", "sell"):
        if sum(one.kind == kind for one in here) > 1:
            raise MistakeError(at, f"{site.id} is to {kind} twice", "keep one of them")
    if any(one.kind == "sell" for one in here) and len(here) > 1:
        raise MistakeError(at, f"{site.id} is sold and used", "a site that is sold does nothing else")


def _most_mw(study: Study, here: list[Alternative]) -> tuple[float, int]:
    """The most that these draw together, and the first month in which they do. What waits for a rule may begin in any
    month from its own start on."""
    spans = []
    for one in here:
        begin = _earliest(study, one)
        ends = (one.wait is None or not one.wait.is_rule) and one.term_months is not None
        end = begin + one.months_to_build + len(one.ramp) + (one.term_months or 0) if ends else study.months
        spans.append((begin, max(begin + 1, end), (one.mw or 0.0) * one.pue))
    sums = [(sum(mw for begin, end, mw in spans if begin <= at < end), at) for at, _, _ in spans]
    return max(sums, key=lambda one: (one[0], -one[1]), default=(0.0, 0))
