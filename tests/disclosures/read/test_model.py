"""The optional model reader: it may point at figures, and only what stands in the text passes."""

# ruff: noqa: E501 - a printed line is one line

import json

import httpx

from tieline.disclosures.read import read
from tieline.disclosures.reading.llm import fill

TEXT = "In May 2025 the company mined 514 BTC. Coins encumbered under the revolving facility amounted to 3,300 in the aggregate."


def answering(facts: list[dict[str, object]], status: int = 200) -> httpx.Client:
    def handle(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["temperature"] == 0
        return httpx.Response(status, json={"choices": [{"message": {"content": json.dumps({"facts": facts})}}]})

    return httpx.Client(transport=httpx.MockTransport(handle))


def test_a_figure_that_stands_in_the_text_is_taken_and_marked() -> None:
    quote = "Coins encumbered under the revolving facility amounted to 3,300"
    found = {"field": "restricted_or_pledged_btc", "period": "2025-05", "quote": quote, "printed": "3,300"}
    reading = fill(read(TEXT), base_url="http://127.0.0.1:1/v1", model="any", client=answering([found]))
    model = [f for f in reading.facts if f.method == "model"]
    assert [(f.field, int(f.value)) for f in model] == [("restricted_or_pledged_btc", 3300)]
    assert model[0].span is not None
    assert reading.text[slice(*model[0].span)] == quote


def test_an_invented_figure_quote_or_field_is_dropped() -> None:
    invented = [
        {"field": "btc_sold", "period": "2025-05", "quote": "the company sold 99 BTC", "printed": "99"},
        {"field": "btc_sold", "period": "2025-05", "quote": "the company mined 514 BTC", "printed": "99"},
        {"field": "nonsense", "period": "2025-05", "quote": "the company mined 514 BTC", "printed": "514"},
        {"field": "btc_sold", "period": "May", "quote": "the company mined 514 BTC", "printed": "514"},
    ]
    before = read(TEXT)
    reading = fill(before, base_url="http://127.0.0.1:1/v1", model="any", client=answering(invented))
    assert reading.facts == before.facts
    assert any("4 of the model's 4" in n for n in reading.notes)


def test_a_rule_is_not_overruled() -> None:
    other = {"field": "btc_produced", "period": "2025-05", "quote": "amounted to 3,300", "printed": "3,300"}
    reading = fill(read(TEXT), base_url="http://127.0.0.1:1/v1", model="any", client=answering([other]))
    assert [int(f.value) for f in reading.facts if f.field == "btc_produced"] == [514]


def test_a_failing_endpoint_changes_nothing_but_a_note() -> None:
    before = read(TEXT)
    reading = fill(before, base_url="http://127.0.0.1:1/v1", model="any", client=answering([], status=500))
    assert reading.facts == before.facts
    assert any("model not used" in n for n in reading.notes)
