"""What needs a person: worst first, and never fewer than there are without a word."""

from typing import Any

from tieline.console.attention import set_aside_lines, worst_first


def line(level: str, n: int) -> dict[str, Any]:
    return {"level": level, "what": "fault", "text": str(n), "site_id": None, "site": "", "seq": n, "since": None}


def test_a_list_that_is_cut_says_how_much_more_there_is() -> None:
    lines = [*(line("note", n) for n in range(5)), *(line("bad", n) for n in range(5))]
    shown = worst_first(lines, 4)
    assert [(one["level"], one["seq"]) for one in shown] == [("bad", 0), ("bad", 1), ("bad", 2), ("bad", None)]
    assert (shown[-1]["what"], shown[-1]["text"].split()[0]) == ("and more", "7")
    assert set(shown[-1]) == set(lines[0])
    assert len(worst_first(lines, 10)) == len(worst_first(lines)) == 10


def test_what_is_lost_stands_above_what_is_set_aside() -> None:
    assert [(one["level"], one["what"]) for one in set_aside_lines(3, 2)] == [("bad", "lost"), ("warn", "set aside")]
    assert set_aside_lines(0, 0) == []
