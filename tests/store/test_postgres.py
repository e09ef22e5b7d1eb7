"""Records on PostgreSQL: the same as in a file, in the order of their commits, and moved there and back whole."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.kinds import T0, tick
from tests.store.make_folder import told, use
from tests.store.server import Server, running

from tieline import records
from tieline.app.up import Options, UpError, prepare
from tieline.cli import main
from tieline.config import example_text
from tieline.records import PriceTick, Usage
from tieline.store import DamagedError, Outbox, Selection, Store, StoreError
from tieline.store import copy as copying
from tieline.store.place import StorePlace, name, place_of, settle
from tieline.store.postgres import server_url
from tieline.store.tail import INSERT

END = T0 + timedelta(days=9_999)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as one:
        yield one


def opened(place: StorePlace | Path | None, *, read_only: bool = False) -> Store:
    return Store(place, records.encode, records.decode, read_only=read_only)


@pytest.fixture
def place(server: Server, tmp_path: Path) -> StorePlace:
    return StorePlace(tmp_path, server.url())


numbers = st.lists(st.integers(0, 30), max_size=12)


@pytest.fixture(scope="module")
def one_place(server: Server, tmp_path_factory: pytest.TempPathFactory) -> StorePlace:
    return StorePlace(tmp_path_factory.mktemp("one"), server.url())


@settings(max_examples=40)
@given(batches=st.lists(numbers, max_size=5), limit=st.integers(1, 5), after=st.integers(0, 40))
def test_whatever_is_appended_it_answers_as_a_file_does(
    one_place: StorePlace, batches: list[list[int]], limit: int, after: int
) -> None:
    there, here = opened(one_place), opened(None)
    there.tables.run("TRUNCATE record")
    with there.tables.write():
        there.tables.run("UPDATE tail SET commits = 0, last = 0, digest = ?", (bytes(32),))
    for batch in batches:
        made = [tick(n) if n % 3 else use(n) for n in batch]
        assert there.append(made) == here.append(made)
    assert there.follow(after, limit) == here.follow(after, limit)
    assert there.follow(0, limit, PriceTick) == here.follow(0, limit, PriceTick)
    assert there.counts() == here.counts()
    assert there.digest() == here.digest()
    assert (there.last_seq(), there.last_at()) == (here.last_seq(), here.last_at())
    assert there.tables.tail().last == here.last_seq()
    for type_ in (PriceTick, Usage):
        assert there.between(type_, T0, END) == here.between(type_, T0, END)
        assert there.latest(type_, END) == here.latest(type_, END)
        assert there.holds(type_) == here.holds(type_)
        for newest in (True, False):
            of = Selection(type_, T0, END, T0 + timedelta(hours=20))
            assert there.page(of, limit, newest_first=newest) == here.page(of, limit, newest_first=newest)
    assert there.numbers([PriceTick, Usage], 2, 20, 5) == here.numbers([PriceTick, Usage], 2, 20, 5)
    assert there.get(after) == here.get(after)
    there.verify()
    there.close()


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4) | st.sampled_from(
    ['"', "\\", "NULL", "{}", ","]
)
rows = st.tuples(st.none(), words, words, words, st.integers(-9, 9), st.integers(0, 2**62), st.binary(max_size=3))


@settings(max_examples=40)
@given(batches=st.lists(st.lists(rows, min_size=8, max_size=20), min_size=1, max_size=3))
def test_rows_put_in_at_once_are_those_put_in_one_by_one(
    one_place: StorePlace, batches: list[list[tuple[None, str, str, str, int, int, bytes]]]
) -> None:
    there, here = opened(one_place), opened(None)
    there.tables.run("TRUNCATE record")
    for batch in batches:
        with there.tables.write(), here.tables.write():
            assert there.tables.many(INSERT, batch) == here.tables.many(INSERT, batch)
    every = "SELECT * FROM record ORDER BY seq"
    assert there.tables.rows(every) == here.tables.rows(every)
    there.close()


def test_every_kind_of_record_comes_back_as_it_was(place: StorePlace) -> None:
    store = opened(place)
    assert store.append(told()) == len(told())
    assert store.append(told()) == 0
    assert [one.record for one in store.follow(0).items] == told()
    assert store.aside() == []
    store.close()


def test_a_reader_never_finds_a_lower_number_behind_one_it_has_seen(place: StorePlace) -> None:
    opened(place).close()
    failures: list[str] = []

    def write(start: int) -> None:
        store = opened(place)
        for n in range(start, start + 40):
            store.append([tick(n), tick(n + 5_000)])
        store.close()

    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 1_000, 2_000)]
    for one in writers:
        one.start()
    reader, last, seen = opened(place, read_only=True), 0, 0
    while (seen < 240 and any(one.is_alive() for one in writers)) or (seen < 240 and last < reader.last_seq()):
        page = reader.follow(last, 7)
        if [one.seq for one in page.items] != list(range(last + 1, last + 1 + len(page.items))):
            failures.append(f"after {last}: {[one.seq for one in page.items]}")
        last, seen = page.last, seen + len(page.items)
    for one in writers:
        one.join()
    assert failures == []
    assert seen == 240
    reader.verify()
    reader.close()


def test_who_numbers_next_waits_for_who_numbered_before(place: StorePlace) -> None:
    first, second, reader = opened(place), opened(place), opened(place, read_only=True)
    done = threading.Event()

    def later() -> None:
        second.append([tick(2)])
        done.set()

    with first.tables.write() as transaction:
        rows = [(None, "PriceTick", "k", "A", 0, 0, records.encode(tick(1)))]
        kept = first.tables.many(INSERT, rows)
        transaction.keep((body for _, body in kept), kept[-1][0])
        thread = threading.Thread(target=later)
        thread.start()
        assert not done.wait(0.3)
        assert reader.last_seq() == 0
    thread.join(10)
    assert [one.seq for one in reader.follow(0).items] == [1, 2]
    for one in (first, second, reader):
        one.close()


def half_written(store: Store, server: Server) -> None:
    with store.tables.write() as transaction:
        store.tables.many("INSERT INTO record VALUES (99, 'PriceTick', 'lost', '', 0, 0, ?)", [(b"x",)])
        transaction.keep((b"x",), 99)
        server.crash()


def test_a_server_that_crashes_keeps_what_it_acknowledged_and_is_dialled_anew(
    server: Server, place: StorePlace
) -> None:
    store = opened(place)
    for n in range(5):
        store.append([tick(n)])
    with pytest.raises(StoreError, match="PostgreSQL at .* network error"):
        half_written(store, server)
    assert store.last_seq() == 5  # over a new connection, and nothing of what was cut short
    server.crash()
    assert store.append([tick(n) for n in range(7)]) == 2
    store.verify()
    assert store.state.commits == 6
    store.close()


def test_an_end_that_the_server_lost_is_noticed_by_who_sent_it(
    server: Server, place: StorePlace, tmp_path: Path
) -> None:
    """A standby that had not heard everything was promoted: senders are asked to send all again."""
    box, store = Outbox(tmp_path / "outbox.db"), opened(place)

    def push() -> int:
        again = box.heard(store.state)
        while rows := box.take(2):
            store.append([records.decode(body) for _, _, body in rows])  # type: ignore[misc]
            again += box.heard(store.state)
            box.done([number for number, _, _ in rows])
        return again

    box.put([(f"k{n}", records.encode(tick(n))) for n in range(6)])
    assert push() == 0
    store.close()
    assert place.url is not None
    with server.admin(server_url(place.url).database) as admin:
        admin.run("DELETE FROM record WHERE seq > 2")
        admin.run("UPDATE tail SET commits = 1, last = 2")
    store = opened(place)
    assert push() == 6
    assert store.last_seq() == 6
    box.close()
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://a@b/c", "must begin with postgresql://"),
        ("postgresql://a:secret@b/c", "holds a password"),
        ("postgresql://a@b:port/c", "cannot be read"),
        ("postgresql:///c", "names no host"),
        ("postgresql://b/c", "needs a user and a database"),
        ("postgresql://a@b", "needs a user and a database"),
        ("postgresql://a@b/c?sslmode=disable", "has the option 'sslmode'"),
        ("postgresql://a@b,,d/c", "a host between two commas is missing"),
        ("postgresql://a@b,d,b:5432/c", "names a server twice"),
        ("postgresql://a@b,d:0x7/c", "cannot be read"),
    ],
)
def test_an_address_that_cannot_be_is_named_and_its_password_is_not(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        server_url(url)
    assert "secret" not in str(caught.value)


def test_an_address_may_name_a_primary_and_its_standbys() -> None:
    one = server_url("postgresql://a@db1,db2:6000,[::1]/c")
    assert [str(place) for place in one.places] == ["db1:5432", "db2:6000", "::1:5432"]
    assert str(one) == "PostgreSQL at db1:5432, db2:6000, ::1:5432, database c"


def test_only_beyond_this_machine_it_goes_over_tls() -> None:
    assert server_url("postgresql://a@127.0.0.1,localhost:6000/c").local
    assert not server_url("postgresql://a@127.0.0.1,db.example/c").local
    assert server_url("postgresql://a@127.0.0.1/c").local
    assert server_url("postgresql://a@localhost/c").local
    assert server_url("postgresql://a@/c?host=%2Fvar%2Frun").local
    assert not server_url("postgresql://a@db.example/c").local
    assert not server_url("postgresql://a@10.0.0.7/c").local


def test_a_password_that_others_may_read_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("x")
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        opened(StorePlace(tmp_path, server.url(), path))


def test_no_server_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read PostgreSQL at 127\.0\.0\.1:9, database c: ") as caught:
        opened(StorePlace(tmp_path, "postgresql://a@127.0.0.1:9/c"))
    assert "\n" not in str(caught.value)


def test_what_is_not_ours_or_of_a_later_version_is_refused(server: Server, place: StorePlace, tmp_path: Path) -> None:
    opened(place).close()
    assert place.url is not None
    database = server_url(place.url).database
    with server.admin(database) as admin:
        admin.run("UPDATE tieline_form SET version = 99")
    with pytest.raises(StoreError, match="later version of Tieline"):
        opened(place)
    with server.admin(database) as admin:
        admin.run("UPDATE tieline_form SET owner = 'spool'")
    with pytest.raises(StoreError, match="holds no store of Tieline's"):
        opened(place)
    other = StorePlace(tmp_path, server.url())
    with server.admin(server_url(other.url or "").database) as admin:
        admin.run("CREATE TABLE theirs (a integer)")
    with pytest.raises(StoreError, match="other tables than Tieline's"):
        opened(other)
    empty = StorePlace(tmp_path, server.url())
    with pytest.raises(StoreError, match="store migrate"):
        opened(empty, read_only=True)


def test_a_reader_cannot_write(place: StorePlace) -> None:
    opened(place).close()
    reader = opened(place, read_only=True)
    with pytest.raises(StoreError, match="read"):
        reader.append([tick(1)])
    assert reader.last_seq() == 0
    reader.close()


def test_two_that_open_an_empty_database_make_its_tables_once(place: StorePlace) -> None:
    errors: list[BaseException] = []

    def make() -> None:
        try:
            opened(place).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    opened(place).close()


def test_a_record_altered_on_the_server_is_found_by_its_digest(server: Server, place: StorePlace) -> None:
    store = opened(place)
    store.append([tick(1), tick(2)])
    store.verify()
    assert place.url is not None
    with server.admin(server_url(place.url).database) as admin:
        admin.run("UPDATE record SET body = body || 'x' WHERE seq = 1")
    with pytest.raises(DamagedError, match="the digest over its rows"):
        store.verify()
    store.close()


# --- moving -----------------------------------------------------------------------------


def filled(folder: Path, count: int = 25) -> StorePlace:
    store = opened(StorePlace(folder))
    for n in range(count):
        store.append([tick(n), use(n)])
    store.close()
    return StorePlace(folder)


def test_records_move_to_a_server_and_back_under_their_numbers(server: Server, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    here, there = filled(tmp_path / "a"), StorePlace(tmp_path / "a", server.url())
    source, target = opened(here, read_only=True), opened(there)
    before = source.state
    assert copying.copy(source, target) == 50
    assert copying.same(source, target)
    assert target.follow(0, 100) == source.follow(0, 100)
    target.verify()
    # Whoever sent to the one takes the other for the same, and has nothing to send again.
    assert target.epoch == before.epoch
    assert target.state.commits > before.commits
    back = opened(StorePlace(tmp_path / "b"))
    assert copying.copy(target, back) == 50
    assert back.digest() == source.digest()
    back.verify()
    for one in (source, target, back):
        one.close()


def test_a_copy_that_was_cut_short_goes_on(
    server: Server, place: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(copying, "PAGE", 7)
    source, target = opened(filled(tmp_path / "a"), read_only=True), opened(place)

    def cut(done: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.copy(source, target, cut)
    assert target.last_seq() == 21
    assert copying.copy(source, target) == 29
    assert copying.same(source, target)
    target.append([tick(999)])
    with pytest.raises(StoreError, match="holds other records"):
        copying.copy(source, target)
    source.close()
    target.close()


def test_the_commands_move_check_and_name_the_place(server: Server, tmp_path: Path) -> None:
    filled(tmp_path)
    url, run = server.url(), CliRunner()

    def said(*words: str, code: int = 0) -> str:
        folder = [] if "--data-dir" in words else ["--data-dir", str(tmp_path)]
        found = run.invoke(main, [*words, *folder])
        assert found.exit_code == code, found.output
        return found.output

    assert "50 records of 2 streams" in said("store", "check")
    assert "50 records came over" in said("store", "copy", "--to", url)
    assert place_of(tmp_path) == StorePlace(tmp_path, url)
    assert url in said("store", "check")
    assert json.loads(said("store", "check", "--json"))["records"] == 50
    assert "lie at" in said("store", "copy", "--to", url, code=1)
    assert "already" in said("store", "copy", "--to", url, code=1)
    assert "name where to" in said("store", "copy", code=2)
    assert "form 1" in said("store", "migrate")
    opened(place_of(tmp_path)).append([tick(100)])
    assert "1 records came over" in said("store", "copy", "--to-file")
    assert place_of(tmp_path) == StorePlace(tmp_path)
    assert "51 records" in said("store", "check")
    assert "no records" in said("store", "check", "--data-dir", str(tmp_path / "none"), code=3)


def test_records_are_never_left_behind_where_the_configuration_names_another_place(
    server: Server, tmp_path: Path
) -> None:
    url, other = server.url(), "postgresql://a@127.0.0.1/b"
    filled(tmp_path)
    with pytest.raises(StoreError, match=r"lie in its store\.db.*tieline store copy --to"):
        settle(tmp_path, url, None)
    name(StorePlace(tmp_path, url))
    with pytest.raises(StoreError, match="the configuration says postgresql://a@127"):
        settle(tmp_path, other, None)
    with pytest.raises(StoreError, match="--to-file"):
        settle(tmp_path, None, None)
    assert settle(tmp_path, url, None).url == url
    # A standby is added, the primary that is gone is taken out: the records are the same.
    name(StorePlace(tmp_path, "postgresql://a@db1/b"))
    for after in ("postgresql://a@db1,db2/b", "postgresql://a@db2/b"):
        assert settle(tmp_path, after, None).url == after == place_of(tmp_path).url
    for another in ("postgresql://a@db2/other", "postgresql://a@db3,db1/b"):
        with pytest.raises(StoreError, match="a standby there was promoted, name both"):
            settle(tmp_path, another, None)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match=r"cannot read .*store\.json"):
        place_of(tmp_path)


def test_up_refuses_a_server_that_does_not_answer_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "fleet.toml"
    config.write_text(example_text() + '\n[store]\nurl = "postgresql://a@127.0.0.1:9/c"\n')
    with pytest.raises(UpError, match=r"cannot read PostgreSQL at 127\.0\.0\.1:9"):
        prepare(Options(data_dir=tmp_path / "d", config=config))


def test_appending_is_quick_enough_for_a_fleet(place: StorePlace) -> None:
    """Some thousands a second over one connection; the bound is a tenth of what a free core does."""
    store, rows = opened(place), [tick(n) for n in range(3_000)]
    began = time.process_time()
    store.append(rows)
    assert time.process_time() - began < 6
    store.close()


def test_a_full_disk_of_the_server_is_one_line_keeps_nothing_half_and_is_over_when_there_is_room(
    server: Server, place: StorePlace
) -> None:
    """As the server says it: SQLSTATE 53100 within the transaction."""
    store = opened(place)
    store.append([tick(0)])
    database = str(place.url).partition("@/")[2].partition("?")[0]
    full = """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file "base/5/1": No space left on device' USING ERRCODE = '53100'; END $$"""
    with server.admin(database) as admin:
        admin.run(full)
        admin.run("CREATE TRIGGER full_disk BEFORE INSERT ON record FOR EACH ROW EXECUTE FUNCTION full_disk()")
    for batch in ([tick(1)], [tick(n) for n in range(2, 40)]):
        with pytest.raises(StoreError, match="No space left on device") as caught:
            store.append(batch)
        assert "\n" not in str(caught.value)
    assert store.last_seq() == 1
    with server.admin(database) as admin:
        admin.run("DROP TRIGGER full_disk ON record")
    store.append([tick(n) for n in range(40)])
    assert store.last_seq() == 40
    store.verify()
    store.close()
