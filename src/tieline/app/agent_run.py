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

from tieline.app.joins import Credentials, JoinError, read_token, read_welcome
from tieline.app.sites_part import modelled
from tieline.clock import WallClock
from tieline.config import Config
from tieline.edge.sites import SiteHost, run_sites
from tieline.intake import IntakeError, read
from tieline.link import Link, LinkDownError, NatsLink
from tieline.link.users import JOIN, site_user
from tieline.tasks import Registry

# A token that the server does not know is told after this long; a new one is known to it sooner.
JOIN_WAIT_S = 5.0
# How long an agent waits at its start for the link before it says so and tries again.
CONNECT_S, LOOK_S = 15.0, 0.5

_read_config = msgspec.json.Decoder(Config).decode


async def join(text: str, folder: Path) -> str:
    """Spend a token; the site's credentials then lie in `folder`. Returns the site. Raises JoinError."""
    token = read_token(text)
    if (folder / "agent.json").exists():
        raise JoinError(f"{folder} has joined as {Credentials.load(folder).site_id}; give another --data-dir")
    try:
        link = await NatsLink.connect(token.url, JOIN + token.name, token.password, JOIN_WAIT_S)
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
    Credentials(url=token.url, site_id=said.site_id, password=said.password, config=said.config).save(folder)
    return said.site_id


async def run_agent(folder: Path, say: Callable[[str], None]) -> None:
    """Until SIGINT or SIGTERM. Raises JoinError where the folder joined nothing or another agent runs on it."""
    os.umask(0o077)
    own = Credentials.load(folder)
    try:
        config = read(bytes(own.config), _read_config)
    except IntakeError as error:
        raise JoinError(f"{folder / 'agent.json'}: {error}; join again with a new token") from error
    with _alone(folder):
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        running = asyncio.create_task(_run(own, config, folder, say))
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.wait({running})
        if running in done:
            running.result()
    say("Stopped.")


async def _run(own: Credentials, config: Config, folder: Path, say: Callable[[str], None]) -> None:
    device, meter = modelled(config)
    told: list[asyncio.Task[None]] = []

    async def connect(_: str) -> Link:
        while True:
            try:
                link = await NatsLink.connect(own.url, site_user(own.site_id), own.password, CONNECT_S)
            except LinkDownError:
                say(f"{own.url} does not answer, or takes {own.site_id} no longer; trying again")
                continue
            told.append(asyncio.create_task(_tell(link, own.site_id, say)))
            return link

    try:
        host = SiteHost(config, WallClock(), folder, connect, None, device, meter)
        await run_sites(host, lambda said: say(f"{own.site_id} runs: {said}"), Registry())
    finally:
        for one in told:
            one.cancel()


async def _tell(link: Link, site_id: str, say: Callable[[str], None]) -> None:
    """Say when the link goes and when it is back: the agent goes on meanwhile."""
    up = True
    while True:
        await asyncio.sleep(LOOK_S)
        if link.up != up:
            up = link.up
            say(f"the link of {site_id} is {'back' if up else 'away; plan and orders hold, records wait here'}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One agent on a folder. Raises JoinError."""
    with (folder / "agent.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JoinError(f"an agent runs on {folder} already; stop it, or give another --data-dir") from error
        yield
