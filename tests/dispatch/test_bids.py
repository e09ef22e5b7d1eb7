"""A rig group's bids: the modes at the meter, the envelope over them, and what a draw splits the rigs into."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tieline.dispatch.bids import GroupBid, ModePoint, Step, group_bid, mode_points, rig_group_bid
from tieline.fleet import RigGroup

# 1,000 rigs of 3,500 W and 200 TH/s: 3.5 MW and 200 PH/s in all.
GROUP = RigGroup(id="g", feeder="f", model="Antminer S21", rigs=1_000)
# Two steps up from sleep: 1 MW at 90 USD/MWh, then 3 MW at 40.
CURVE = GroupBid("g", "sleep", 0.5e6, (Step("sleep", "low", 1e6, 90.0), Step("low", "normal", 3e6, 40.0)))


def points(**given: float | str) -> dict[str, tuple[float, float]]:
    usual: dict[str, float | str] = {"keeps": 1.0, "aux": 0.0, "derate": 1.0, "share": 1.0, "rest": "sleep"}
    found = mode_points(GROUP, 48.0, **{**usual, **given})  # type: ignore[arg-type]
    return {one.mode: (one.power_w, one.usd_per_h) for one in found}


def test_a_mode_draws_its_share_and_earns_its_hashes() -> None:
    # 200 PH/s at 48 USD a PH/s and day is 400 USD an hour; low keeps 72 % of the power and 80 % of the hashes.
    found = points()
    assert found["normal"] == pytest.approx((3.5e6, 400.0))
    assert found["low"] == pytest.approx((0.72 * 3.5e6, 320.0))
    assert found["sleep"] == (25_000.0, 0.0)  # 25 W a rig for its control board
    assert "off" not in found
    assert points(rest="off")["off"] == (0.0, 0.0)


def test_fees_heat_auxiliary_load_and_rigs_that_do_not_obey_are_in_it() -> None:
    assert points(keeps=0.97)["normal"] == pytest.approx((3.5e6, 388.0))
    assert points(aux=0.05)["normal"] == pytest.approx((3.675e6, 400.0))
    assert points(derate=0.5)["normal"] == pytest.approx((1.75e6, 200.0))
    assert points(share=0.25)["normal"] == pytest.approx((0.875e6, 100.0))
    assert points(share=0.25, aux=0.05)["sleep"] == pytest.approx((6_562.5, 0.0))


def test_in_heat_that_stops_rigs_only_rest_is_left() -> None:
    assert set(points(derate=0.0)) == {"sleep"}
    assert set(points(derate=0.0, rest="off")) == {"sleep", "off"}
    assert set(points(derate=0.01)) == {"sleep", "low", "normal"}


def test_for_one_mode_the_bid_is_the_strike() -> None:
    """hashprice / (0.024 x J/TH), the field's formula, with auxiliary load and fees."""
    bid = rig_group_bid(GROUP, 48.0, keeps=0.985, aux=0.04, rest="off")
    whole = sum(step.power_w * step.bid_usd_per_mwh for step in bid.steps) / bid.full_w
    assert whole == pytest.approx(48.0 * 0.985 / (0.024 * 17.5 * 1.04))
    assert (bid.unit_id, bid.rest, bid.rest_w) == ("g", "off", 0.0)
    assert bid.full_w == pytest.approx(3.5e6 * 1.04)


def test_a_group_rests_asleep_with_all_rigs_and_no_heat_unless_told_otherwise() -> None:
    usual = rig_group_bid(GROUP, 48.0, keeps=1.0, aux=0.0)
    assert usual == rig_group_bid(GROUP, 48.0, keeps=1.0, aux=0.0, derate=1.0, share=1.0, rest="sleep")
    assert (usual.rest, usual.rest_w) == ("sleep", 25_000.0)


def test_the_envelope_leaves_out_what_is_never_worth_using() -> None:
    """From rest to b is 40 a MW; a, below that line, is on no best path; c adds less for each MW than b."""
    rest, a, b, c = (
        ModePoint("r", 0.0, 0.0),
        ModePoint("a", 1e6, 20.0),
        ModePoint("b", 2e6, 80.0),
        ModePoint("c", 4e6, 100.0),
    )
    bid = group_bid("g", [c, a, rest, b], "r")
    assert bid.steps == (Step("r", "b", 2e6, 40.0), Step("b", "c", 2e6, 10.0))
    on_line = group_bid("g", [rest, ModePoint("m", 1e6, 40.0), b], "r")
    assert on_line.steps == (Step("r", "b", 2e6, 40.0),)  # a mode on the line is no step of its own


def test_a_mode_that_a_later_one_outbids_is_left_out_and_those_before_it_stay() -> None:
    """To a 40 a MW, to b 20, to c 40 again: c over b is 30 from a, less than to a."""
    given = [ModePoint("r", 0.0, 0.0), ModePoint("a", 1e6, 40.0), ModePoint("b", 2e6, 60.0), ModePoint("c", 3e6, 100.0)]
    assert group_bid("g", given, "r").steps == (Step("r", "a", 1e6, 40.0), Step("a", "c", 2e6, 30.0))


def test_of_two_modes_with_the_same_draw_the_better_counts_and_nothing_below_rest() -> None:
    rest, poor, rich = ModePoint("r", 1e6, 10.0), ModePoint("poor", 2e6, 20.0), ModePoint("rich", 2e6, 60.0)
    less = ModePoint("less", 0.5e6, 50.0)
    same = ModePoint("same", 1e6, 55.0)
    assert group_bid("g", [rest, less, same], "r").steps == ()
    assert group_bid("g", [rest, less, same], "r").rest_w == 1e6
    found = group_bid("g", [rest, poor, ModePoint("x", 3e6, 61.0)], "r")
    assert [step.upper for step in found.steps] == ["x"]
    assert [step.upper for step in group_bid("g", [rich, rest], "r").steps] == ["rich"]


def test_a_draw_splits_the_rigs_over_two_neighbouring_modes() -> None:
    assert CURVE.full_w == 4.5e6
    assert CURVE.shares_at(0.5e6) == {"sleep": 1.0}
    assert CURVE.shares_at(0.75e6) == {"sleep": 0.75, "low": 0.25}
    assert CURVE.shares_at(1.5e6) == {"low": 1.0}
    assert CURVE.shares_at(2.25e6) == {"low": 0.75, "normal": 0.25}
    assert CURVE.shares_at(4.5e6) == {"normal": 1.0}
    assert CURVE.shares_at(9e6) == {"normal": 1.0}


def test_below_rest_the_others_are_off() -> None:
    assert CURVE.shares_at(0.125e6) == {"off": 0.75, "sleep": 0.25}
    assert CURVE.shares_at(0.0) == {"off": 1.0}
    assert CURVE.shares_at(-1.0) == {"off": 1.0}
    assert CURVE.shares_at(1.0) == {"off": 1.0 - 1.0 / 0.5e6, "sleep": 1.0 / 0.5e6}


def test_a_share_of_a_billionth_of_the_rigs_is_none() -> None:
    assert CURVE.shares_at(0.5e6 + 1e-4) == {"sleep": 1.0}  # a tenth of a billionth of the step
    assert CURVE.shares_at(1.5e6 - 1e-4) == {"low": 1.0}
    assert CURVE.shares_at(0.5e6 + 1.0) == {"sleep": 1.0 - 1e-6, "low": 1e-6}


@given(
    st.floats(0.0, 120.0),
    st.floats(0.1, 1.0),
    st.floats(0.0, 0.09),
    st.sampled_from(("sleep", "off")),
    st.floats(0.0, 300.0),
)
def test_running_every_step_above_the_price_is_the_best_of_all_modes(
    hashprice_usd: float, derate: float, aux: float, rest: str, price: float
) -> None:
    bid = rig_group_bid(GROUP, hashprice_usd, keeps=1.0, aux=aux, derate=derate, rest=rest)
    assert all(a.bid_usd_per_mwh >= b.bid_usd_per_mwh for a, b in pairwise(bid.steps))
    run = [step for step in bid.steps if step.bid_usd_per_mwh > price]
    event(f"steps run: {len(run)}")
    gain = sum(step.power_w * (step.bid_usd_per_mwh - price) for step in run) / 1e6
    modes = mode_points(GROUP, hashprice_usd, 1.0, aux, derate, 1.0, rest)
    base = next(one for one in modes if one.mode == rest)
    best = max(
        one.usd_per_h - base.usd_per_h - price * (one.power_w - base.power_w) / 1e6
        for one in modes
        if one.power_w >= base.power_w
    )
    assert gain == pytest.approx(best, abs=1e-6 * max(1.0, price))
