"""Tagged facts: units vary by filer, coins are named by dimensions, and nothing is guessed."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.disclosures.xbrl import companyfacts, instance


def facts_of(concepts: dict[str, Any]) -> bytes:
    return json.dumps({"cik": 1, "entityName": "X", "facts": {"us-gaap": concepts}}).encode()


def entry(end: str, val: float, filed: str = "2026-02-05", accn: str = "0000000000-26-000001") -> dict[str, Any]:
    return {"end": end, "val": val, "accn": accn, "fy": 2025, "fp": "FY", "form": "10-K", "filed": filed}


def test_units_vary_by_filer() -> None:
    body = facts_of(
        {
            "CryptoAssetNumberOfUnits": {
                "units": {
                    "bitcoin": [entry("2025-12-31", 11452)],
                    "BTC": [entry("2025-09-30", 10428)],
                    "pure": [entry("2025-06-30", 12608)],
                    "Ether": [entry("2025-12-31", 30000)],
                }
            },
            "CryptoAssetFairValue": {"units": {"USD": [entry("2025-12-31", 1001814000)]}},
        }
    )
    found = companyfacts(body, "CLSK")
    values = {(fact.period, fact.field): fact.value for fact in found.facts}
    assert values == {
        ("2025-12-31", "btc_on_balance"): 11452,
        ("2025-09-30", "btc_on_balance"): 10428,
        ("2025-12-31", "cryptocurrencies_usd"): 1001814000,
    }
    assert any("'pure'" in note for note in found.notes)
    assert any("'Ether'" in note for note in found.notes)
    vouched = companyfacts(body, "CLSK", ["pure"])
    assert ("2025-06-30", 12608) in {(fact.period, fact.value) for fact in vouched.facts}
    assert found.filed == ("2026-02-05",) * 3


def test_a_value_printed_again_differently_is_restated() -> None:
    first, again = entry("2025-09-30", 100, "2025-11-05"), entry("2025-09-30", 98, "2026-02-05")
    same = entry("2025-09-30", 98, "2026-05-05")
    body = facts_of({"CryptoAssetNumberOfUnits": {"units": {"bitcoin": [same, again, first]}}})
    found = companyfacts(body, "X")
    assert [(fact.value, fact.restated) for fact in found.facts] == [(100, False), (98, True)]
    assert found.filed == ("2025-11-05", "2026-02-05")


INSTANCE = """<?xml version="1.0"?>
<xbrl xmlns="http://www.xbrl.org/2003/instance" xmlns:us-gaap="http://fasb.org/us-gaap/2025"
  xmlns:x="http://x.test/2025" xmlns:xbrldi="http://xbrl.org/2006/xbrldi"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <context id="plain"><entity/><period><instant>2025-12-31</instant></period></context>
  <context id="btc"><entity><segment>
    <xbrldi:explicitMember dimension="us-gaap:CryptoAssetAxis">x:BitcoinMember</xbrldi:explicitMember>
  </segment></entity><period><instant>2025-12-31</instant></period></context>
  <context id="pledged"><entity><segment>
    <xbrldi:explicitMember dimension="us-gaap:CryptoAssetAxis">x:BitcoinMember</xbrldi:explicitMember>
    <xbrldi:explicitMember dimension="us-gaap:StatusAxis">us-gaap:AssetPledgedAsCollateralMember</xbrldi:explicitMember>
  </segment></entity><period><instant>2025-12-31</instant></period></context>
  <context id="eth"><entity><segment>
    <xbrldi:explicitMember dimension="us-gaap:CryptoAssetAxis">x:EtherMember</xbrldi:explicitMember>
  </segment></entity><period><instant>2025-12-31</instant></period></context>
  <context id="cash"><entity><segment>
    <xbrldi:explicitMember dimension="us-gaap:CryptoAssetAxis">x:BitcoinCashMember</xbrldi:explicitMember>
  </segment></entity><period><instant>2025-12-31</instant></period></context>
  <unit id="pure"><measure>pure</measure></unit>
  <unit id="bitcoin"><measure>x:Bitcoin</measure></unit>
  <unit id="usd"><measure>iso4217:USD</measure></unit>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="btc" unitRef="pure">11452</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="btc" unitRef="pure">11452</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="pledged" unitRef="bitcoin">1648</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="eth" unitRef="pure">777</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="cash" unitRef="pure">888</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="plain" unitRef="pure">999</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="gone" unitRef="bitcoin">5</us-gaap:CryptoAssetNumberOfUnits>
  <us-gaap:CryptoAssetNumberOfUnits contextRef="btc" unitRef="bitcoin" xsi:nil="true"/>
  <us-gaap:CryptoAssetFairValue contextRef="btc" unitRef="usd" decimals="-3">1001814000</us-gaap:CryptoAssetFairValue>
  <us-gaap:CryptoAssetFairValue contextRef="eth" unitRef="usd" decimals="-3">2000000</us-gaap:CryptoAssetFairValue>
  <us-gaap:CryptoAssetCost contextRef="btc" unitRef="usd" decimals="-3">348213000</us-gaap:CryptoAssetCost>
  <us-gaap:Assets contextRef="plain" unitRef="usd">1</us-gaap:Assets>
</xbrl>"""


def test_dimensions_name_the_coin_and_the_pledge() -> None:
    found = instance(INSTANCE.encode(), "CLSK")
    assert {(fact.field, fact.scope, fact.value) for fact in found.facts} == {
        ("btc_on_balance", None, Decimal(11452)),
        ("btc_on_balance", "AssetPledgedAsCollateral", Decimal(1648)),
        ("btc_fair_value_usd", None, Decimal(1001814000)),
        ("cost_basis_kusd", None, Decimal(348213)),
    }
    assert len(found.facts) == 4
    assert any("context is missing" in note for note in found.notes)
    assert all(fact.quote for fact in found.facts)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no instance"),
        (b"<html></html>", "root"),
        (b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "document type"),
        (INSTANCE[:900].encode(), "no instance"),
    ],
)
def test_what_is_no_instance_is_refused(body: bytes, why: str) -> None:
    found = instance(body, "X")
    assert found.facts == ()
    assert why in (found.refused or "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"facts": 1}',
        b'{"facts": {"us-gaap": {"CryptoAssetNumberOfUnits": {}}}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_companyfacts_is_refused(body: bytes) -> None:
    found = companyfacts(body, "X")
    assert found.facts == ()
    assert found.refused is not None


@pytest.mark.parametrize("end", ["2025-02-30", "2025", "", "25-01-01", "2025-12-31T00:00", "2025-W01-1", "1999-12-31"])
def test_an_entry_without_a_date_is_left_out(end: str) -> None:
    found = companyfacts(facts_of({"CryptoAssetNumberOfUnits": {"units": {"BTC": [entry(end, 5)]}}}), "X")
    assert found.facts == ()
    assert found.notes


@pytest.mark.parametrize("value", ["1e999999999", "-1e999999999", "NaN", "Infinity", "", "12,5"])
def test_a_number_that_no_balance_sheet_holds_is_left_out_and_told(value: str) -> None:
    """Written out, the first would fill the memory."""
    assert ">11452<" in INSTANCE
    found = instance(INSTANCE.replace(">11452<", f">{value}<").encode(), "X")
    assert len(found.facts) == len(instance(INSTANCE.encode(), "X").facts) - 1
    assert any("is no number" in note for note in found.notes)
    whole = facts_of({"CryptoAssetNumberOfUnits": {"units": {"bitcoin": [entry("2025-12-31", 0.5)]}}})
    assert companyfacts(whole.replace(b"0.5", b"1e999999999"), "X").facts == ()


@given(st.binary(max_size=400))
def test_noise_never_raises(noise: bytes) -> None:
    assert instance(noise, "X").facts == ()
    assert companyfacts(noise, "X").facts == ()


@given(st.integers(0, len(INSTANCE)), st.text(max_size=5))
def test_a_damaged_instance_never_raises(at: int, put: str) -> None:
    instance((INSTANCE[:at] + put + INSTANCE[at + 3 :]).encode(), "X")


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=6),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["units", "USD", "bitcoin", "end", "val", "filed", "2025-01-01"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(JSON)
def test_companyfacts_of_any_shape_never_raise(shape: Any) -> None:
    companyfacts(json.dumps({"facts": {"us-gaap": {"CryptoAssetNumberOfUnits": shape}}}).encode(), "X")
    companyfacts(json.dumps({"facts": {"us-gaap": shape}}).encode(), "X")
    companyfacts(json.dumps({"facts": shape}).encode(), "X")
