"""Beancount both ways: what is exported comes back to the satoshi and the cent, and is proved by its own checker."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tests.cli.folder import make
from tests.cli.test_books_add import add, balances, filled, run

NOW = datetime(2026, 9, 10, 12, 0, tzinfo=UTC)
FOREIGN = """
option "title" "Theirs"
* Coins
2025-01-01 open Assets:Bitcoin:Cold  BTC
2025-03-01 * "Exchange" "bought"  #x ^y
  Assets:Bitcoin:Cold   1.5 BTC {50,000 USD, "a"}
  Assets:Cash
2025-04-01 * "bought more"
  ! Assets:Bitcoin:Cold   0.5 BTC {60000 USD, 2025-03-31}
  Assets:Cash   -30,000.00 USD ; paid
2025-05-01 txn "sold"
  note: "x"
  Assets:Bitcoin:Cold  -1 BTC {"a"} @ 70000 USD
  Assets:Cash           70000 USD
  Income:RealisedGain  -20000 USD
2025-06-01 * "sold by the books' method"
  Assets:Bitcoin:Cold  -0.25 BTC {}
  Assets:Cash           20000 USD
  Income:RealisedGain  -7500 USD
2025-06-30 balance Assets:Bitcoin:Cold 0.75 BTC
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "data", [], NOW)


def taken(folder: Path, text: str, name: str = "in.beancount") -> str:
    file = folder.parent / name
    file.write_text(text)
    return run("import", "beancount", file, "--data-dir", folder).output


def lots(folder: Path) -> list[list[str]]:
    return [line.split() for line in run("books", "lots", "--data-dir", folder).stdout.splitlines()]


def test_what_is_exported_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    filled(folder)
    add(folder, "bill", "--id", 'b "2"', "--payee", "Host", "--amount", "70", "--for", "Hosting")
    text = run("books", "export", "--data-dir", folder).stdout
    again = make(tmp_path / "again" / "data", [], NOW)
    told = taken(again, text)
    assert "10 records read, 10 recorded" in told
    assert "10 records read, 0 recorded, 10 as before" in taken(again, text)
    assert balances(again) == balances(folder)
    assert lots(again) == lots(folder)
    program = Path(sys.executable).with_name("bean-check")
    if not program.exists():
        pytest.skip("bean-check is not installed")
    back = tmp_path / "back.beancount"
    back.write_text(run("books", "export", "--data-dir", again).stdout)
    proved = subprocess.run([program, back], capture_output=True, text=True, timeout=60, check=False)
    assert proved.returncode == 0, proved.stderr


def test_a_file_of_another_hand_is_booked_with_its_lots(folder: Path) -> None:
    assert "4 records read, 4 recorded" in taken(folder, FOREIGN)
    now = balances(folder)
    assert Decimal(now["Assets:Bitcoin:Cold", "BTC"]) == Decimal("0.75")
    assert Decimal(now["Assets:Cash", "USD"]) == -15_000
    assert Decimal(now["Trading:USD", "USD"]) == 42_500  # 0.25 at 50,000 and 0.5 at 60,000
    assert [row[1] for row in lots(folder)[1:]] == ["a", "Cold"]
    assert lots(folder)[1][-2:] == ["0.25", "12500.00"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('include "x.beancount"\n', "line 1: 'include' would change the books unseen"),
        ("2025-01-01 pad Assets:A Equity:B\n", "line 1: 'pad' would change"),
        ('2025-01-01 * "x"\n  Assets:Cash  1 XYZ\n', "line 2: 'XYZ' is not known"),
        ('2025-01-01 * "x"\n  Assets:Cash  (1+2) USD\n', "line 2: 'Assets:Cash  (1+2) USD' is no posting"),
        ('2025-01-01 * "x"\n  Assets:Cash\n  Income:X\n', "line 3: two amounts are left open"),
        ('2025-01-01 * "x"\n  Assets:Bitcoin:C  1 BTC {5 EUR}\n  Assets:Cash\n', "line 2: {5 EUR} is no cost"),
        ('2025-01-01 * "x"\n  Assets:Cash  1 USD\n  Income:X  -2 USD\n', "USD sums to -1"),
        ('2025-01-01 * "x"\n  Assets:Bitcoin:C  -1 BTC {}\n  Assets:Cash  5 USD\n', "holds 0.00000000 BTC, not"),
        ('2025-01-01 * "x"\n  Assets:Bitcoin:C  1.123456789 BTC {5 USD}\n  Assets:Cash\n', "more than 8"),
        ('2025-13-01 * "x"\n  Assets:Cash  1 USD\n  Income:X  -1 USD\n', "month must be in 1..12"),
    ],
)
def test_what_is_not_understood_is_named_by_its_line_and_nothing_is_taken(folder: Path, text: str, says: str) -> None:
    told = taken(folder, text)
    assert says in told
    assert "Traceback" not in told
    assert balances(folder) == {}
