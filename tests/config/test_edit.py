"""A configuration's text with some of it changed: what is not meant stays letter by letter, or nothing is changed."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.config.edit import EditError, with_table, with_values, written

TEXT = '''# my fleet
[fleet]
name = "A # b [c]"   # not a comment, not a bracket

[[site]]
id = "one"           # the first
rigs = [             # by hand
  { model = "S21", addresses = ["10.0.0.1"] },   # [
]
note = """
[[site]]
id = "two"
"""

[[site]]
id = 'two'
[[tenant]]
id = "t"
budget_usd_per_month = "5"   # ASSUMED
[[tenant.key]]
id = "k"
'''


def test_only_what_is_meant_changes() -> None:
    new = with_values(TEXT, "site", "one", {"rigs": [{"model": "S19", "addresses": ["10.0.0.1-2"]}]})
    assert tomllib.loads(new)["site"][0]["rigs"] == [{"model": "S19", "addresses": ["10.0.0.1-2"]}]
    assert [line for line in TEXT.splitlines() if line not in new.splitlines()] == [
        "rigs = [             # by hand",
        '  { model = "S21", addresses = ["10.0.0.1"] },   # [',
    ]


def test_a_value_that_there_was_none_of_stands_behind_the_others_of_its_table() -> None:
    new = with_values(TEXT, "tenant", "t", {"budget_usd_per_month": "7", "weight": 2})
    lines = new.splitlines()
    assert lines[lines.index('budget_usd_per_month = "7"') + 1] == "weight = 2"
    assert tomllib.loads(with_values(TEXT, "site", "two", {"name": "x"}))["site"][1] == {"id": "two", "name": "x"}
    assert tomllib.loads(with_values('[[tenant]]\nid = "t"', "tenant", "t", {"weight": 1}))["tenant"][0]["weight"] == 1


@pytest.mark.parametrize(
    "text",
    [
        'site = [{ id = "one" }]\n',
        '[[site]]\nid = "one"\n[[site.rigs]]\nmodel = "S21"\n',
        '[[site]]\n"rigs" = []\nid = "one"\n',
    ],
)
def test_what_cannot_be_changed_safely_is_refused(text: str) -> None:
    with pytest.raises(EditError, match="by hand"):
        with_values(text, "site", "one", {"rigs": [{"model": "S19"}]})


def test_a_table_is_added_and_an_unknown_one_named() -> None:
    new = with_table(TEXT, '[[tenant]]\nid = "u"\n')
    assert new.startswith(TEXT)
    assert [one["id"] for one in tomllib.loads(new)["tenant"]] == ["t", "u"]
    with pytest.raises(EditError, match="no \\[\\[site\\]\\] has the id 'three'"):
        with_values(TEXT, "site", "three", {})


_PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.integers(-(2**40), 2**40) | st.booleans()


_KEY = st.from_regex("[a-z]{1,6}", fullmatch=True)
_VALUES = st.recursive(
    _PLAIN, lambda one: st.lists(one, max_size=3) | st.dictionaries(_KEY, one, max_size=3), max_leaves=6
)


@given(_VALUES)
def test_every_value_is_read_back(value: object) -> None:
    text = written(value)
    assert tomllib.loads(f"x = {text}") == {"x": value}
