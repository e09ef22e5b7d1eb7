"""What a study file may say: each mistake is one line with file, line, field and remedy."""

import re

import pytest
from tests.study.ground import alternative, text

from tieline.config import ConfigError
from tieline.study.reading import example_text, loads

GPU = 'kind = "gpu"\nmw = 10.0\nstart = "2026-06"\nusd_per_node = 2.5e5\nshell_usd_per_mw = 4e6\n'
LEASE = (
    'kind = "lease"\nmw = 10.0\nstart = "2026-06"\nterm_months = 120\nusd_per_mw_year = 1.8e6\nshell_usd_per_mw = 9e6\n'
)
TWO = '\n[[plan]]\nname = "do"\ndoes = ["it", "other"]\n'


CONTRACT = 'kind = "contract"\nmw = 5.0\nstart = "2026-06"\nterm_months = 60'
SELL = 'kind = "sell"\nstart = "2027-01"\nsale_usd = 1e6'
RENEW = 'kind = "renew"\nstart = "2027-01"\nusd_per_th = 12.0'
LOAN = '\n[[loan]]\nname = "l"\nusd = 1e6\nmonth = "2026-01"\nrate = 0.1\nterm_months = 12\n'


def gpu(before: str = "", after: str = "") -> str:
    return text(alternative(GPU.replace(before, after)))


def changed(before: str, after: str, body: str = "") -> str:
    whole = text(alternative(body) if body else "")
    assert before in whole
    return whole.replace(before, after)


CORRELATED = '[assume]\ncorrelations = [["btc", "power", 0.1]]'
UNTIL = 'mw = 100.0\navailable_until = "2030-01"'
CROWDED = text(alternative(GPU) + alternative(LEASE.replace("10.0", "80.0"), "other")) + TWO


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        (gpu("2.5e5", "-1.0"), "usd_per_node", "at least 0"),
        (gpu("usd_per_node = 2.5e5\n"), "usd_per_node", "missing"),
        (gpu("10.0", "12000.0"), "mw", "write MW, not kW: at most 10,000"),
        (gpu("10.0", "900.0"), "mw", "draws 1080 MW, the site has 100; write MW, not kW"),
        (gpu("2026-06", "2025-06"), "start", "before the study's 2026-01"),
        (gpu("2026-06", "June"), "start", 'this is no month; write it as "2026-01"'),
        (gpu('"2026-06"', '"2026-06"\nmonths_to_build = 8\ndelivers = "2026-08"'), "delivers", "stands, 2027-02"),
        (gpu('"2026-06"', '"2026-06"\nresidual = 20.0'), "residual", "8 % is 0.08"),
        (gpu('"2026-06"', '"2026-06"\nmonths = 3'), "months", "unknown key"),
        (text(alternative(CONTRACT)), "usd_per_gpu_hour", "the contract has no price; write one of usd_per_gpu_hour"),
        (text(alternative(LEASE + "usd_per_mw_month = 1e5\n")), "usd_per_mw_year", "several prices"),
        (text(alternative(RENEW)), "j_per_th", "missing; write j_per_th, or rig"),
        (text(alternative(RENEW + '\nrig = "Antminer S21 Prro"')), "rig", "write Antminer S21 Pro"),
        (text(alternative(SELL + "\n[alternative.wait]\nmean_months = 3")), "wait", "waits for nothing"),
        (text(alternative(SELL + "\n[alternative.wait]\nbelow = 3.0\nabove = 4.0")), "wait", "two limits"),
        (text(alternative(SELL + '\n[alternative.wait]\nuntil = "2099-01"')), "until", "outside the study"),
        (
            text(alternative(SELL + '\n[alternative.wait]\nof = "power"\nhashprice_below = 3.0')),
            "hashprice_below",
            "below",
        ),
        (changed("mw = 100.0", UNTIL, LEASE), "term_months", "the site only to 2030-01"),
        (changed("start = 0.6", "start = 95.0"), "start", "write 95 % as 0.95"),
        (changed("discount = 0.10", "discount = 8.0"), "discount", "at most 1, as a fraction: 8 % is 0.08"),
        (changed("mw = 100.0", 'mw = 100.0\ncurrency = "BRL"'), "currency", "add [assume.fx.BRL]"),
        (changed("mw = 100.0", 'mw = 100.0\ncurrency = "real"'), "currency", "three capitals"),
        (changed("[operation]", "[assume.fx.USD]\nstart = 1.0\n[operation]"), "USD", "a dollar is a dollar"),
        (changed("[20.0, 40.0, 80.0]", "[40.0, 20.0]"), "levels", "does not rise"),
        (changed("[assume]", CORRELATED), "correlations", "no driver 'btc'"),
        (changed('site = "a"', 'site = "b"', GPU), "site", "no site 'b'"),
        (CROWDED, "does", "108 MW are asked of 100 in 2026-06; take alternatives that fit, or one after"),
        (text(alternative(SELL) + alternative(GPU, "other")) + TWO, "does", "is sold and used"),
        (text() + '\n[[plan]]\nname = "do"\ndoes = ["nothing"]\n', "does", "no alternative 'nothing'"),
        (text() + '\n[[plan]]\nname = "keep"\n', "plan[2]", "there twice"),
        (text() + LOAN.replace("2026-01", "2050-01"), "month", "outside"),
        (text() + LOAN.replace("0.1", "8.0"), "rate", "8 % is 0.08"),
        (text() + LOAN + "opening = true", "month", "leave month out"),
        (text() + LOAN.replace('month = "2026-01"\n', ""), "month", "opening = true"),
        (text() + LOAN + "interest_only_months = 12", "term_months", "no month is left"),
        (text() + LOAN + "value_at_most = 0.8", "value_at_most", "nothing secures this loan"),
        (text() + LOAN + 'secured_by = ["it"]', "secured_by", "no alternative 'it'"),
        (gpu("10.0", "60.0\nusd_per_million_tokens = 1.0"), "gpu_shares", "0.72 of a, and nodes are run up to 0.5"),
        (text(alternative(SELL + "\nusd_per_million_tokens = 1.0")), "usd_per_million_tokens", "sells no tokens"),
        ("name = ", "TOML", ""),
    ],
)
def test_a_mistake_is_one_line(given: str, field: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loads(given, "study.toml")
    said = str(refused.value)
    assert "\n" not in said
    assert re.match(r"study\.toml(:\d+)?: ", said)
    assert field in refused.value.field
    assert words in said


def test_one_building_after_another_fits_where_both_at_once_would_not() -> None:
    first = LEASE.replace("10.0", "80.0").replace("120", "24")
    later = first.replace("2026-06", "2028-06")
    both = [one.name for one in loads(text(alternative(first) + alternative(later, "other")) + TWO).alternative]
    assert both == ["it", "other"]
    with pytest.raises(ConfigError, match="160 of 100|192 MW are asked of 100 in 2028-01"):
        loads(text(alternative(first) + alternative(later.replace("2028-06", "2028-01"), "other")) + TWO)


def test_a_matrix_that_is_none_of_correlations_is_refused() -> None:
    from tieline.config.lines import MistakeError
    from tieline.study.drivers import correlation

    bad = '[["btc_usd", "power", 0.9], ["power", "difficulty", 0.9], ["btc_usd", "difficulty", -0.9]]'
    one = loads(text().replace("[assume]", f"[assume]\ncorrelations = {bad}"))
    with pytest.raises(MistakeError, match="cannot hold together"):
        correlation(one)


def test_the_example_is_one() -> None:
    one = loads(example_text())
    assert one.invented
    assert len(one.plan) == 6
