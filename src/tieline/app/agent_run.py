"""One site's agent in a folder of its own: joins with a token, then runs with the credentials that it was given."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tieline.app.joins import Credentials, JoinError, read_token, read_welcome, url_of
from tieline.app.sites_part import modelled
from tieline.clock import WallClock
from tieline.config import Config
from tieline.edge.local.door import LocalDoor, open_door
from tieline.edge.local.password import LocalPassword, LocalPasswordError
from tieline.edge.sites import SiteHost, run_sites
from tieline.intake import IntakeError, read
from tieline.link import LateLink, Link, LinkDownError, LinkUser, NatsLink
from tieline.link.users import JOIN, site_user
from tieline.tasks import Registry, end

# A token that the server does not know is told after this long; a new one is known to it sooner.
JOIN_WAIT_S = 5.0
# A link that went, and a folder that holds something new, are noticed within this.
LOOK_S, AWAY_LOOKS = 0.25, 4
LINK_SAYS = {
    "up": "the link of {site} is back",
    "away": "the link of {site} is away; plan and orders hold, records wait here",
    "revoked": "{site} is revoked: the platform takes its credentials no longer. It goes on alone; "
    "`tieline join` in this folder with a new token lets it in again",
}

_read_config = msgspec.json.Decoder(Config).decode


async def join(text: str, folder: Path) -> str:
    """Spend a token; the site's credentials then lie in `folder`. Returns the site. Raises JoinError."""
    token = read_token(text)
    if (held := _joined_as(folder)) is not None and held != token.site_id:
        raise JoinError(f"{folder} has joined as {held}, the token is for {token.site_id}; give another --data-dir")
    user = LinkUser(token.url, JOIN + token.name, token.password, token.authority)
    try:
        link = await NatsLink.dial(user, JOIN_WAIT_S)
    except LinkDownError as error:
        why = f"{token.url} does not take this token: it is spent, older than 30 minutes, or no platform runs there"
        raise JoinError(f"{why}; `tieline site token SITE` there makes another") from error
    try:
        said = read(await link.request(f"join.{token.name}", b""), read_welcome)
        if said.error is not None:
            raise JoinError(said.error)
        read(bytes(said.config), _read_config)
    except (LinkDownError, IntakeError) as error:
        raise JoinError(f"the platform's answer could not be worked with: {error}; try again") from error
    finally:
        await link.close()
    Credentials(
        url=token.url, site_id=said.site_id, password=said.password, command_key=said.command_key,
        command_number=said.command_number, config=said.config, authority=token.authority,
    ).save(folder)  # fmt: skip
    return said.site_id


def _joined_as(folder: Path) -> str | None:
    """The site of a folder; None where it joined nothing, or what it holds cannot be read any more and is replaced."""
    try:
        return Credentials.load(folder).site_id
    except JoinError:
        return None


async def run_agent(folder: Path, say: Callable[[str], None], door: LocalDoor | None = None) -> None:
    """Until SIGINT or SIGTERM. Raises JoinError where the folder joined nothing, another agent runs on it, or its page
    cannot be opened at `door`."""
    os.umask(0o077)
    Credentials.load(folder)
    if door is not None:
        try:
            LocalPassword(door.folder)
            open_door(door).close()
        except (OSError, LocalPasswordError) as error:
            raise JoinError(f"the page on {door.host}:{door.port}: {error}") from error
    with _alone(folder):
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        running = asyncio.create_task(_run_always(folder, say, door))
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await end([running])
        if running in done:
            running.result()
    say("Stopped.")


async def _run_always(folder: Path, say: Callable[[str], None], door: LocalDoor | None = None) -> None:
    """Run with what the folder holds, and anew when that changes: another configuration, or joined again."""
    while True:
        seen = _stamp(folder)
        own = Credentials.load(folder)
        try:
            config = read(bytes(own.config), _read_config)
        except IntakeError as error:
            raise JoinError(f"{folder / 'agent.json'}: {error}; join again with a new token") from error
        running = asyncio.create_task(_run(own, config, folder, say, door))
        try:
            while not running.done() and _stamp(folder) == seen:
                await asyncio.wait({running}, timeout=LOOK_S)
        finally:
            await end([running])
        if not running.cancelled():
            running.result()
        say(f"{own.site_id} has a new configuration or new credentials and starts anew")


def _stamp(folder: Path) -> int:
    return (folder / "agent.json").stat().st_mtime_ns


async def _run(
    own: Credentials, config: Config, folder: Path, say: Callable[[str], None], door: LocalDoor | None
) -> None:
    device, meter = modelled(config)
    tasks: list[asyncio.Task[None]] = []

    async def connect(_: str) -> Link:
        link = LateLink(LinkUser(own.url, site_user(own.site_id), own.password, own.authority))
        tasks.append(asyncio.create_task(_tell(link, own.site_id, say)))
        return link

    def take_config(text: bytes) -> None:
        fresh = read(text, _read_config)
        url = url_of(fresh.link.servers, own.url)  # a server that came since is dialled like those before it
        if fresh != config or url != own.url:
            msgspec.structs.replace(own, config=msgspec.Raw(text), url=url).save(folder)

    host = SiteHost(
        config, WallClock(), folder, connect, None, device, meter, command_key=bytes.fromhex(own.command_key),
        command_floor=own.command_number, take_config=take_config, local=door, tunnels=True,
    )  # fmt: skip
    try:
        await run_sites(host, lambda said: say(f"{own.site_id} runs: {said}"), Registry())
    finally:
        for one in tasks:
            one.cancel()


async def _tell(link: LateLink, site_id: str, say: Callable[[str], None]) -> None:
    """Say when the link goes and when it is back, and when it was taken away: the agent goes on meanwhile."""
    state, looks = "up", 0
    while True:
        await asyncio.sleep(LOOK_S)
        now = "up" if link.up else "revoked" if link.refused else "away"
        looks = looks + 1 if now == "away" else 0
        # A server that takes somebody's rights may close before it says why; who dials again hears it.
        if now != state and (now != "away" or looks >= AWAY_LOOKS):
            state = now
            say(LINK_SAYS[state].format(site=site_id))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One agent on a folder. Raises JoinError."""
    with (folder / "agent.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JoinError(f"an agent runs on {folder} already; stop it, or give another --data-dir") from error
        yield
