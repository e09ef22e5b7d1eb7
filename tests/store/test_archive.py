"""What is archived is what was stored, byte for byte and in its order, and a file that is not is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.kinds import T0, tick

from tieline import records
from tieline.cli import main
from tieline.records import AnyRecord, PriceTick
from tieline.store import Store, StoreError
from tieline.store import archive as archives
from tieline.store.archive import RecordArchive

STREAMS = {one.__name__: one for one in get_args(AnyRecord)}
END = T0 + timedelta(days=99)


def archive(folder: Path) -> RecordArchive:
    return RecordArchive(str(folder), records.encode, records.decode, STREAMS)


def hourly(number: int) -> PriceTick:
    return msgspec.structs.replace(tick(number), at=T0 + number * timedelta(hours=5), known_at=T0)


@settings(max_examples=25, deadline=None)
@given(numbers=st.lists(st.integers(0, 40), min_size=1, max_size=25), group=st.integers(1, 4), split=st.integers(0, 25))
def test_what_is_read_back_is_what_the_store_gives(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], group: int, split: int
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "GROUP", group)
        store, kept = Store(folder / "store.db", records.encode, records.decode), archive(folder / "parquet")
        before = (T0 + timedelta(days=5)).date()
        for batch in (numbers[:split], numbers[split:]):  # what comes late is archived the second time
            store.append([hourly(n) for n in batch])
            made = list(kept.archive(store, before))
        edge = datetime.combine(before, datetime.min.time(), UTC)
        assert kept.between(PriceTick, T0, END) == store.between(PriceTick, T0, edge)
        for first in (0, 13, 48):
            start = T0 + timedelta(hours=first)
            assert kept.between(PriceTick, start, start + timedelta(hours=31)) == [
                one for one in store.between(PriceTick, start, start + timedelta(hours=31)) if one.at < edge
            ]
        assert not any(one.new for one in kept.archive(store, before)), "the second time nothing is new"
        assert [one.day for one in made] == kept.days("PriceTick")
        assert sum(one.records for one in kept.verify()) == len(store.between(PriceTick, T0, edge))
        store.close()


def test_a_file_that_is_damaged_or_cut_is_named_and_written_anew_when_it_is_gone(tmp_path: Path) -> None:
    store, kept = Store(tmp_path / "store.db", records.encode, records.decode), archive(tmp_path / "parquet")
    store.append([hourly(n) for n in range(30)])
    list(kept.archive(store, END.date()))
    path = tmp_path / "parquet" / "PriceTick" / f"{T0.date()}.parquet"
    whole = path.read_bytes()
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)  # well formed, with a record fewer
    with pytest.raises(StoreError, match=rf"{T0.date()}.parquet is not what was written; remove it"):
        list(kept.verify())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        kept.between(PriceTick, T0, END)
    assert [one.day for one in kept.archive(store, END.date()) if one.new] == [T0.date()], "what is no file is written"
    assert kept.between(PriceTick, T0, END) == store.between(PriceTick, T0, END)
    store.close()


def test_the_command_says_what_it_wrote_and_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    store = Store(folder / "store.db", records.encode, records.decode)
    store.append([hourly(n) for n in range(30)])
    store.close()

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["store", "archive", "--data-dir", str(folder), *words])
        return done.exit_code, done.output

    there = str(tmp_path / "parquet")
    code, text = run(there, "--older-than", "1")
    assert code == 0, text
    assert "written now" in text
    assert run(there, "--older-than", "1", "--check")[0] == 0
    (tmp_path / "file").write_text("")
    code, text = run(str(tmp_path / "file"), "--older-than", "1")
    assert (code, "cannot write" in text or "cannot list" in text) == (1, True), text
    code, text = run("gs2://nothing/here")
    assert (code, "no archive at gs2://nothing/here" in text) == (1, True), text
