"""Texts of our own, in the shapes that releases and news have: what a test reads where no recorded ones are at hand."""

from __future__ import annotations

from typing import Any

Text = dict[str, Any]


def _text(name: str, kind: str, published: str, raw: str, expected: dict[str, dict[str, Any]]) -> Text:
    return {
        "id": name, "ticker": "HRN", "published": published, "url_kind": kind, "raw": raw, "expected": expected,
    }  # fmt: skip


RELEASES = [
    _text(
        "own-columns", "issuer_release_copy", "2025-08-05",
        "Heron Mining July 2025 Production Update\n"
        "Metric\nJuly 2025\nJune 2025\nChange\n"
        "Bitcoin Produced\n412\n398\n3.5 %\n"
        "Average Bitcoin Produced per Day\n13.3\n13.3\n0 %\n"
        "Bitcoin Held\n5,120\n4,808\n6 %\n"
        "Bitcoin Sold\n100\n90\n11 %\n"
        "Deployed Hash Rate\n26.0 EH/s\n25.5 EH/s\n2 %\n",
        {
            "2025-07": {
                "btc_produced": 412, "avg_btc_per_day": 13.3, "btc_held_end": 5120, "btc_sold": 100, "deployed_ehs": 26,
            },
            "2025-06": {
                "btc_produced": 398, "avg_btc_per_day": 13.3, "btc_held_end": 4808, "btc_sold": 90,
                "deployed_ehs": 25.5,
            },
        },
    ),
    _text(
        "own-list", "issuer_release_copy", "2025-10-03",
        "HERON ANNOUNCES SEPTEMBER 2025 MINING RESULTS\n"
        "Highlights for September 2025:\n"
        "- Bitcoin mined: 377.4 BTC\n"
        "- Total bitcoin held at 30 September 2025: 5,893.1 BTC\n"
        "- Bitcoin sold: 0 BTC\n"
        "- Average operating hashrate: 24.8 EH/s\n",
        {"2025-09": {"btc_produced": 377.4, "btc_held_end": 5893.1, "btc_sold": 0, "avg_operating_ehs": 24.8}},
    ),
    _text(
        "own-prose", "issuer_release_copy", "2025-12-02",
        "Heron November 2025 Bitcoin Production and Mining Operations Update\n"
        "In November 2025 Heron produced 401 BTC. As of November 30, 2025, Heron held 6,702 BTC. "
        "Deployed hashrate was 27.2 EH/s at the end of November 2025.\n",
        {"2025-11": {"btc_produced": 401, "btc_held_end": 6702, "deployed_ehs": 27.2}},
    ),
]  # fmt: skip

NEWS = [
    _text(
        "own-news", "news", "2025-12-04",
        "Heron said on Tuesday that it mined 401 BTC in November 2025 and that it held 6,702 BTC at the end of the "
        "month. Analysts had hoped for 430.",
        {"2025-11": {"btc_produced": 401, "btc_held_end": 6702}},
    ),
    _text(
        "own-news-window", "news", "2025-12-09",
        "Over the eleven months to November 2025 Heron mined 4,310 BTC, the company told a conference.",
        {},
    ),
]  # fmt: skip

TRAPS = [
    _text("own-target", "issuer_release_copy", "2025-08-05", "Heron aims to mine 900 BTC in December 2025.", {}),
    _text("own-hosted", "issuer_release_copy", "2025-08-05", "Heron's customers mined 71 BTC in July 2025.", {}),
    _text("own-between", "issuer_release_copy", "2025-08-05", "In July 2025 Heron mined between 400 and 412 BTC.", {}),
    _text("own-sector", "news", "2025-08-05", "Listed miners together produced 4,020 BTC in July 2025.", {}),
    _text("own-ether", "issuer_release_copy", "2025-08-05", "Heron earned 1,204 ETH by staking in July 2025.", {}),
]
