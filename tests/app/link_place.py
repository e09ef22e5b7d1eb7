"""The link's part with its real server and a core behind it, as tests want it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats

from tieline import records
from tieline.app import link_part
from tieline.app.aside import SetAsides
from tieline.app.core_part import Core
from tieline.app.joins import LINK_FOLDER, TLS_FOLDER, TokenText, changed_book
from tieline.app.runtime import Runtime, free_port
from tieline.clock import WallClock, wall_now
from tieline.link import NatsLink, SigningLink
from tieline.link.certificate import make_certificates
from tieline.link.signing import CommandKey
from tieline.link.users import inbox_of
from tieline.records import MeterReading
from tieline.store import Store
from tieline.store.quarantine import Quarantine
from tieline.tasks import Registry

A, B = "na-tx-01", "na-tx-02"
TAKES_S = 15.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TAKES_S):
        while not condition():
            await asyncio.sleep(0.02)


def reading(site: str, watts: float) -> bytes:
    at = wall_now().replace(second=0, microsecond=0)
    return records.encode_batch([
        MeterReading(
            at=at, known_at=at, source=f"site:{site}", kind="measured", site_id=site, length_s=60, readings=1,
            power_w=watts, power_max_w=watts, last_heard=at,
        )
    ])  # fmt: skip


class Place:
    """The link's part with its server, and a core behind it."""

    def __init__(self, data: Path, tls: bool, rig_block: str | None = None) -> None:
        now, port = wall_now(), free_port()
        beyond = {}
        if tls:
            authority = make_certificates(data / LINK_FOLDER / TLS_FOLDER, ["localhost", "127.0.0.1"], now)
            beyond = {
                "link_listen": f"0.0.0.0:{port}", "link_public": f"tls://localhost:{port}", "link_authority": authority,
            }  # fmt: skip
        self.runtime = Runtime(
            version="0", data_dir=str(data), config=None, speed=1.0, anchor_wall=now, anchor_world=now,
            link_url=f"{'tls' if tls else 'nats'}://127.0.0.1:{port}", link_secret="s", console_host="", console_port=0,
            gateway_host="", gateway_port=0, rig_block=rig_block, **beyond,
        )  # fmt: skip
        self.core: Core | None = None
        self.store = Store(data / "store.db", records.encode, records.decode)

    async def link(self, user: str) -> NatsLink:
        return await NatsLink.dial(self.runtime.link_user(user))

    async def thief(self, user: str, password: str, errors: list[str]) -> Any:
        """A bare client with a site's credentials, which asks for whatever it likes."""

        async def said(error: Exception) -> None:
            errors.append(str(error))

        return await nats.connect(
            self.runtime.link_url, user=user, password=password, inbox_prefix=inbox_of(user).encode(), error_cb=said,
            allow_reconnect=False,
        )  # fmt: skip

    def token(self, site: str) -> str:
        with changed_book(self.runtime.data) as book:
            name = book.offer(site, wall_now())
            password = book.tokens[name].password
        url = self.runtime.link_public or self.runtime.link_url
        return str(
            TokenText(url=url, site_id=site, name=name, password=password, authority=self.runtime.link_authority)
        )

    def stored(self) -> list[tuple[str, float | None]]:
        now = wall_now()
        found = self.store.between(MeterReading, now - timedelta(hours=1), now + timedelta(hours=1))
        return [(one.site_id, one.power_w) for one in found]


@contextlib.asynccontextmanager
async def place(
    data: Path, answers: bool = True, tls: bool = False, rig_block: str | None = None
) -> AsyncIterator[Place]:
    """`rig_block`: where its fake rigs stand, apart from those of a platform that runs here."""
    made = Place(data, tls, rig_block)
    ready = asyncio.Event()
    part = asyncio.create_task(link_part.run(made.runtime, lambda _: ready.set(), Registry()))
    core_link = None
    try:
        async with asyncio.timeout(TAKES_S):
            await ready.wait()
        core_link = SigningLink(await made.link("core"), CommandKey(data / LINK_FOLDER))
        aside = SetAsides(Quarantine(data / "quarantine.db"), made.store)
        core = Core(made.runtime.load_config(), WallClock(), made.store, core_link, (), "", set_aside=aside)
        await core_link.serve("records.*", core.ingest)
        if answers:
            await core_link.serve("plan.get.*", core.give_plan)
            await core_link.serve("orders.get.*", core.give_orders)
            await core_link.serve("config.get.*", core.give_config)
        made.core = core
        await asyncio.sleep(0.05)
        yield made
    finally:
        if core_link is not None:
            await core_link.close()
        part.cancel()
        await asyncio.gather(part, return_exceptions=True)
        made.store.close()
