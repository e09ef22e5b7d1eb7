"""A site obeys what the platform's key signed, once, and says who else tried: a running agent, over the real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.app.link_place import A, Place, place, until

from tieline import config, records
from tieline.app import agent_run
from tieline.app.joins import LINK_FOLDER, Credentials, changed_book, read_book, verify_joins
from tieline.cli.storage.backup import verify
from tieline.clock import wall_now
from tieline.link import CheckedLink, LastNumbers, LinkDownError, LocalLink, NatsLink, SigningLink, push
from tieline.link.signing import CommandKey, KeyFileError, NotSealedError, opened, public_key, split_seal
from tieline.records import Action, Fault, Instruction
from tieline.store import backup


def order(name: str, limit_w: float = 5e6) -> Instruction:
    now = wall_now()
    return Instruction(
        at=now, known_at=now, source="console", kind="measured", instruction_id=name, site_id=A, limit_w=limit_w,
        until=now + timedelta(hours=1),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(folder: Path, said: list[str]) -> AsyncIterator[None]:
    """The agent that this folder joined as."""
    agent = asyncio.create_task(agent_run._run_always(folder, said.append))
    try:
        await until(lambda: agent.done() or any("runs:" in line for line in said))
        yield
    finally:
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)


def held(folder: Path) -> set[str]:
    """The orders that bind the site, as its folder has them."""
    path = folder / "sites" / A / "orders.json"
    if not path.exists():
        return set()
    return {one.instruction_id for one in records.read_batch(path.read_bytes()) if isinstance(one, Instruction)}


def faults(here: Place, what: str) -> list[str]:
    now = wall_now()
    found = here.store.between(Fault, now - timedelta(hours=1), now + timedelta(hours=1))
    return [one.detail for one in found if one.what == what and one.site_id == A]


async def give(here: Place, *batch: records.AnyRecord) -> None:
    link = await here.link("operator")
    assert (await push(link, "operator", records.encode_batch(list(batch)))).trouble is None
    await link.close()


def test_an_agent_obeys_what_is_signed_and_new_and_names_the_rest_also_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        data, folder, said = tmp_path / "data", tmp_path / "site", []
        data.mkdir()
        async with place(data) as here:
            await agent_run.join(here.token(A), folder)
            # Whoever has the core's own password on the link has not its key.
            thief, gateway = await here.link("core"), await here.link("gateway")
            heard: list[bytes] = []

            async def listen() -> None:
                async for _, message in gateway.follow(f"command.{A}"):
                    heard.append(message)

            listening = asyncio.create_task(listen())
            other = CommandKey(tmp_path / "another")
            async with running(folder, said):
                async with forging(thief, lambda: records.encode(order("forged"))):
                    await until(lambda: any("it is not signed" in one for one in faults(here, "command")))
                await give(here, order("true"))
                await until(lambda: "true" in held(folder))
                (sealed,) = [one for one in heard if b'"true"' in one]
                for forged in (
                    other.seal(f"command.{A}", records.encode(order("other-key"))),
                    sealed.replace(b'"true"', b'"real"'),
                    sealed,
                ):
                    await thief.publish(f"command.{A}", forged)
                # What comes after them is obeyed, and nothing of theirs was.
                await give(here, order("second"))
                await until(lambda: "second" in held(folder))
                assert held(folder) == {"true", "second"}
            said.clear()
            async with running(folder, said):
                async with forging(thief, lambda: sealed):
                    await until(lambda: any("was said before" in one for one in faults(here, "command")))
                await give(here, order("third"))
                await until(lambda: "third" in held(folder))
            listening.cancel()
            for one in (thief, gateway):
                await one.close()

    asyncio.run(story())


@contextlib.asynccontextmanager
async def forging(link: NatsLink, make: Callable[[], bytes]) -> AsyncIterator[None]:
    """The same forged command again and again, as somebody would who does not know when a site listens."""

    async def forge() -> None:
        while True:
            await link.publish(f"command.{A}", make())
            await asyncio.sleep(0.2)

    task = asyncio.create_task(forge())
    try:
        yield
    finally:
        task.cancel()


def test_an_answer_that_is_not_the_platforms_binds_nobody(tmp_path: Path) -> None:
    """A thief of the core's password answers for it: questions are asked with a number that no old answer fits."""

    async def story() -> None:
        data, folder, said = tmp_path / "data", tmp_path / "site", []
        data.mkdir()
        async with place(data, answers=False) as here:
            await agent_run.join(here.token(A), folder)
            thief = await here.link("core")
            key = CommandKey(data / LINK_FOLDER)
            old = key.seal(f"orders.get.{A}", records.encode_batch([order("old")]), b"0" * 16)
            for subject in ("orders.get.*", "plan.get.*", "config.get.*"):

                async def lie(asked: str, question: bytes) -> bytes:
                    return old

                await thief.serve(subject, lie)
            async with running(folder, said):
                await until(lambda: any(".get." in one for one in faults(here, "command")))
                assert held(folder) == set()
            await thief.close()

    asyncio.run(story())


def test_a_revoked_site_is_cut_within_a_second_says_so_and_goes_on_alone(tmp_path: Path) -> None:
    async def story() -> None:
        data, folder, said = tmp_path / "data", tmp_path / "site", []
        data.mkdir()
        async with place(data) as here:
            await agent_run.join(here.token(A), folder)
            before = Credentials.load(folder).password
            async with running(folder, said):
                await give(here, order("before"))
                await until(lambda: "before" in held(folder))
                with changed_book(data) as book:
                    book.revoke(A, wall_now())
                began = asyncio.get_running_loop().time()
                await until(lambda: any("is revoked" in line for line in said))
                # 0.2 s to look and 0.25 s to notice; the rest is for a busy machine.
                assert asyncio.get_running_loop().time() - began < 5.0
                assert not any("away" in line for line in said)
                assert "before" in held(folder)
                await agent_run.join(here.token(A), folder)
                assert Credentials.load(folder).password != before
                await until(lambda: any("starts anew" in line for line in said))
                await give(here, order("after"))
                await until(lambda: "after" in held(folder))

    asyncio.run(story())


def test_a_joined_site_takes_a_changed_configuration_without_joining_anew(tmp_path: Path) -> None:
    async def story() -> None:
        data, folder, said = tmp_path / "data", tmp_path / "site", []
        data.mkdir()
        async with place(data) as here:
            await agent_run.join(here.token(A), folder)
            assert here.core is not None
            fleet = here.core.config.fleet
            lower = msgspec.structs.replace(
                fleet.site(A), interconnect=msgspec.structs.replace(fleet.site(A).interconnect, limit_w=7e6)
            )
            sites = tuple(lower if one.id == A else one for one in fleet.sites)
            changed = msgspec.structs.replace(fleet, sites=sites)
            here.core.config = msgspec.structs.replace(here.core.config, fleet=changed)
            async with running(folder, said):
                await until(lambda: any("starts anew" in line for line in said))
            given = msgspec.json.decode(Credentials.load(folder).config, type=config.Config)
            assert [site.interconnect.limit_w for site in given.fleet.sites] == [7e6]

    asyncio.run(story())


def test_an_operators_acceptance_reaches_its_site_by_the_core(tmp_path: Path) -> None:
    async def story() -> None:
        data = tmp_path / "data"
        data.mkdir()
        async with place(data) as here:
            b = await here.link(f"site-{A}")
            heard: list[bytes] = []

            async def listen() -> None:
                async for _, message in b.follow(f"command.{A}"):
                    heard.append(message)

            listening = asyncio.create_task(listen())
            await asyncio.sleep(0.1)
            now = wall_now()
            said = [
                Action(at=now, known_at=now, source="console", kind="measured", by="p", what=what, target=A, detail="d")
                for what in ("abort", "override", "accept")
            ]
            await give(here, *said)
            await until(lambda: len(heard) == 2)
            read = [records.decode(opened(public_key(data / "link"), f"command.{A}", one).body) for one in heard]
            assert [one.what for one in read if isinstance(one, Action)] == ["abort", "accept"]
            listening.cancel()
            await b.close()

    asyncio.run(story())


def test_a_seal_fits_one_subject_one_question_one_body_and_its_numbers_only_grow(tmp_path: Path) -> None:
    key, public = CommandKey(tmp_path), public_key(tmp_path)
    assert (tmp_path / "command.key").stat().st_mode & 0o777 == 0o600
    sealed = key.seal("plan.a", b"{}", b"q")
    assert opened(public, "plan.a", sealed, b"q").body == b"{}"
    head, _, body = sealed.partition(b"\n")
    word, number, signature = head.split(b" ")
    wrong = (
        ("plan.b", sealed, b"q"),
        ("plan.a", sealed, b""),
        ("plan.a", sealed + b" ", b"q"),
        ("plan.a", b" ".join([word, b"1" + number, signature]) + b"\n" + body, b"q"),
        ("plan.a", body, b"q"),
        ("plan.a", b"", b"q"),
        ("plan.a", head, b"q"),
        ("plan.a", b" ".join([word, number, signature[:-2]]) + b"\n" + body, b"q"),
    )
    for subject, message, question in wrong:
        with pytest.raises(NotSealedError):
            opened(public, subject, message, question)
    numbers = [split_seal(key.seal("x", b"")).number for _ in range(3)]
    # Another process on the same folder, even where the clock was set back: above all that came before.
    mark = tmp_path / "command.mark"
    mark.write_text(str(int(mark.read_text()) + 10**15))
    later = [split_seal(CommandKey(tmp_path).seal("x", b"")).number for _ in range(2)]
    everything = [split_seal(sealed).number, *numbers, *later]
    assert everything == sorted(set(everything))


@pytest.mark.parametrize(("name", "text"), [("command.key", "zz"), ("command.key", "00"), ("command.mark", "x")])
def test_a_damaged_key_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    public_key(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(KeyFileError, match=name):
        CommandKey(tmp_path)


def test_joins_and_keys_travel_with_a_backup_and_are_verified(tmp_path: Path) -> None:
    data, copy, back = tmp_path / "data", tmp_path / "copy", tmp_path / "back"
    folder = data / LINK_FOLDER
    with changed_book(data) as book:
        book.spend(book.offer(A, wall_now()), wall_now())
    key = CommandKey(folder)
    key.seal("x", b"")
    backup.back_up(data, copy, wall_now(), "0")
    backup.restore(copy, back)
    assert (back / LINK_FOLDER / "command.key").stat().st_mode & 0o777 == 0o600
    assert public_key(back / LINK_FOLDER) == public_key(folder)
    assert read_book(back).sites[A].password is not None
    assert split_seal(CommandKey(back / LINK_FOLDER).seal("x", b"")).number > key.last
    assert [error for _, error in verify_joins(back)] == [None, None, None]
    for name in ("sites.json", "command.key", "command.mark"):
        (back / LINK_FOLDER / name).write_text("{")
    assert [path.name for path, error in verify_joins(back) if error] == ["sites.json", "command.key", "command.mark"]
    said = CliRunner().invoke(verify, ["--data-dir", str(back)])
    assert said.exit_code == 1
    assert "3 of 3 files are not whole" in said.output


def test_weather_and_demand_are_heard_signed_and_new_alone(tmp_path: Path) -> None:
    async def story() -> None:
        wire, key = LocalLink(), CommandKey(tmp_path / "key")
        core = SigningLink(wire, key)
        site = CheckedLink(wire, public_key(tmp_path / "key"), LastNumbers(tmp_path / "heard.json"))
        heard: list[bytes] = []

        async def follow() -> None:
            async for _, data in site.follow("feeds.weathertick"):
                heard.append(data)

        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        await wire.publish("feeds.weathertick", b"99 C, says nobody")
        sealed = key.seal("feeds.weathertick", b"20 C")
        for data in (key.seal("feeds.demand", b"of another subject"), sealed, sealed):
            await wire.publish("feeds.weathertick", data)
        await core.publish("feeds.weathertick", b"21 C")
        await until(lambda: len(heard) == 2)
        assert heard == [b"20 C", b"21 C"]
        assert not (tmp_path / "heard.json").exists()  # soon old by itself: not worth a write each

        async def newest(subject: str, data: bytes) -> bytes:
            return b"[" + data + b"]"

        await core.serve("feeds.get", newest)
        assert await site.request("feeds.get", b"x") == b"[x]"
        forged = LocalLink()
        await forged.serve("feeds.get", newest)
        with pytest.raises(LinkDownError, match="not the platform's"):
            await CheckedLink(forged, public_key(tmp_path / "key"), LastNumbers()).request("feeds.get", b"x")
        task.cancel()

    asyncio.run(story())
