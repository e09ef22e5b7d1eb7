"""A store that went back without noticing it is noticed by those whose items it had acknowledged."""

import shutil
from pathlib import Path

import pytest
from tests.store.kinds import tick

from tieline import records
from tieline.store import Outbox, Spool, Store, StoreError
from tieline.store.peer import StoreState

Sender = Outbox | Spool


def opened(path: Path) -> Store:
    return Store(path / "store.db", records.encode, records.decode)


def outbox(path: Path) -> Outbox:
    return Outbox(path / "outbox.db")


def spool(path: Path) -> Spool:
    return Spool(path / "usage.db")


def put(sender: Sender, numbers: range) -> None:
    rows = [(f"k{n}", records.encode(tick(n))) for n in numbers]
    if isinstance(sender, Outbox):
        sender.put(rows)
    else:
        for key, body in rows:
            sender.put(key, body)


def push(sender: Sender, store: Store) -> int:
    """Everything that waits; returns how many waited again first."""
    again = sender.heard(store.state)
    while rows := sender.take(5):
        store.append([records.decode(body) for _, _, body in rows])
        again += sender.heard(store.state)
        ids = [id_ for id_, _, _ in rows]
        if isinstance(sender, Outbox):
            sender.done(ids)
        else:
            sender.forget(ids)
    return again


@pytest.mark.parametrize("make", [outbox, spool])
@pytest.mark.parametrize("reopened", [True, False])
def test_a_store_put_back_with_its_mark_is_asked_to_take_all_again(make, reopened: bool, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sender, store = make(tmp_path), opened(tmp_path / "now")
    put(sender, range(10))
    push(sender, store)
    store.close()
    shutil.copytree(tmp_path / "now", tmp_path / "older")
    store = opened(tmp_path / "now")
    put(sender, range(10, 30))
    assert push(sender, store) == 0
    had = store.digest()
    store.close()

    store = opened(tmp_path / "older")
    assert store.untold() == []  # it cannot know
    store.append([tick(n) for n in range(100, 120)])  # others are quicker: counting alone would not show it
    if reopened:
        sender.close()
        sender = make(tmp_path)
    assert push(sender, store) == 30
    (loss,) = sender.untold()
    assert (loss.why, loss.commits) == ("the store had acknowledged more than it has: its end is missing", 4)
    assert store.counts()["PriceTick"] == 50
    assert push(sender, store) == 0
    store.close()

    store = opened(tmp_path / "now")  # back again: it has all that is remembered of the other, and more was not told
    assert store.digest() == had
    store.close()
    sender.close()


@pytest.mark.parametrize("make", [outbox, spool])
def test_a_store_that_is_opened_again_whole_is_asked_for_nothing(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sender = make(tmp_path)
    for n in range(5):
        store = opened(tmp_path)
        put(sender, range(n * 7, n * 7 + 7))
        assert push(sender, store) == 0
        store.close()
    assert sender.untold() == []
    sender.close()


def test_a_store_that_says_only_its_epoch_is_taken_by_that(tmp_path: Path) -> None:
    sender = outbox(tmp_path)
    put(sender, range(3))
    assert sender.heard(StoreState("a")) == 0
    sender.done([id_ for id_, _, _ in sender.take()])
    assert sender.heard(StoreState("a")) == 0
    assert sender.heard(StoreState("")) == 0
    assert sender.heard(StoreState("b")) == 3
    sender.close()


def test_a_disk_that_refuses_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = outbox(tmp_path)
    put(sender, range(3))
    sender.heard(StoreState("a"))
    sender.done([id_ for id_, _, _ in sender.take()])
    with monkeypatch.context() as broken:
        broken.setattr(sender._db, "run", lambda *given: (_ for _ in ()).throw(StoreError("disk full")))
        with pytest.raises(StoreError):
            sender.heard(StoreState("b"))
    assert sender.heard(StoreState("b")) == 3
    sender.close()


def test_a_file_that_another_hand_wrote_to_is_counted_again(tmp_path: Path) -> None:
    one, other = outbox(tmp_path), outbox(tmp_path)
    put(other, range(4))
    one.done([id_ for id_, _, _ in one.take(3)])
    assert len(one) == 1
    for box in (one, other):
        box.close()
