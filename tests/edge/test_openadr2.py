"""Orders by OpenADR 2.0b, through openleadr's own server: taken, changed, taken back, silent."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import openleadr
import pytest
from tests.edge.edge_bench import NOON, make_site
from tests.edge.test_orders import Desk

from tieline.app.runtime import free_port
from tieline.clock import WallClock, wall_now
from tieline.edge.plant.hardware import HardwareError, load_hardware
from tieline.feeds.notices.openadr2 import OpenAdr2Source, VenIdentity, signal_limits
from tieline.feeds.notices.standing import SilencePolicy, StatedOrder
from tieline.records import Fault

PATH = "/OpenADR2/Simple/2.0b"


class Vtn:
    """openleadr's server, and what it was answered."""

    def __init__(self) -> None:
        self.port, self.answers = free_port(), []  # type: ignore[var-annotated]
        self.server = openleadr.OpenADRServer("VTN", http_port=self.port, show_server_cert_domain=False)
        self.server.add_handler("on_create_party_registration", self.register)

    async def register(self, info: dict[str, Any]) -> Any:
        return ("ven1", "reg1") if info["ven_name"] == "site-7" else False

    async def answered(self, ven_id: str, event_id: str, opt_type: str) -> None:
        self.answers.append((event_id, opt_type))

    def order(self, start: datetime, *lengths: float, level: float = 1.0) -> str:
        intervals = []
        for minutes in lengths:
            length = timedelta(minutes=minutes)
            intervals.append({"dtstart": start, "duration": length, "signal_payload": level})
            start += length
        return str(self.server.add_event("ven1", "SIMPLE", "level", intervals, callback=self.answered))


@contextlib.asynccontextmanager
async def vtn(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Vtn]:
    made = Vtn()
    logging.getLogger("openleadr").setLevel(logging.CRITICAL)
    await made.server.run()
    capsys.readouterr()  # its banner
    try:
        yield made
    finally:
        await made.server.stop()


def desk(tmp_path: Path, port: int, ven: str = "site-7", **more: Any) -> Desk:
    it = Desk(tmp_path, OpenAdr2Source(f"http://127.0.0.1:{port}{PATH}", VenIdentity(ven), 5e6), **more)
    it.bench.clock.set(wall_now())  # the server judges by the wall's time what is over
    it.bench.plan(gpu=2, old=4, new=4, valid=timedelta(hours=4))
    return it


def test_events_are_taken_answered_once_and_cancelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async with vtn(capsys) as server:
            it = desk(tmp_path, server.port)
            assert await it.step(4) == pytest.approx(10)
            event = server.order(it.bench.clock.now() - timedelta(minutes=2), 30)  # late
            assert await it.step(6) == pytest.approx(5)
            assert server.answers == [(event, "optIn")]
            server.server.cancel_event("ven1", event)
            await it.step(4)
            ended = it.orders()[-1]
            assert (ended.instruction_id, ended.until) == (f"{event}.0.0", ended.known_at)
            endless = server.order(it.bench.clock.now() - timedelta(minutes=1), 0)
            await it.step(4)
            assert it.orders()[-1].instruction_id == f"{endless}.0.0"
            # The implied cancel: it is listed no more.
            server.server.events["ven1"].clear()
            await it.step(4)
            assert it.orders()[-1].until <= it.bench.clock.now()
            assert {one for one, _ in server.answers} == {event, endless}
            (source, _), *_ = it.desk.sources
            await source.close()

    asyncio.run(story())


def test_a_server_that_is_gone_or_knows_us_not_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async with vtn(capsys) as server:
            it = desk(tmp_path, server.port, "stranger", silence=SilencePolicy(timedelta(seconds=10), "curtail", 2e6))
            assert await it.step(8) == pytest.approx(2)
            faults = [r.detail for r in it.bench.kept() if isinstance(r, Fault) and r.what == "orders openadr2"]
            assert "does not register stranger" in faults[0]
            (source, _), *_ = it.desk.sources
            await source.close()

    asyncio.run(story())


def test_a_setpoint_is_read_in_its_unit_and_lengths_follow_one_another() -> None:
    period = {"dtstart": NOON, "duration": timedelta(minutes=30)}
    signal: dict[str, Any] = {
        "signal_name": "LOAD_DISPATCH",
        "signal_type": "setpoint",
        "measurement": {"name": "powerReal", "unit": "W", "scale": "k"},
        "intervals": [
            {"duration": timedelta(minutes=10), "signal_payload": 5000},
            {"duration": timedelta(0), "signal_payload": 3000},
        ],
    }
    assert list(signal_limits("e", period, signal, 0.0)) == [
        StatedOrder("e.0", 5e6, NOON, NOON + timedelta(minutes=10)),
        StatedOrder("e.1", 3e6, NOON + timedelta(minutes=10), NOON + timedelta(minutes=30)),
    ]
    endless = dict(period, duration=timedelta(0))
    assert list(signal_limits("e", endless, signal, 0.0))[1].until is None
    for wrong in ({"measurement": None}, {"measurement": {"unit": "A", "scale": "none"}}):
        with pytest.raises(ValueError, match="watts as its unit"):
            list(signal_limits("e", period, signal | wrong, 0.0))
    with pytest.raises(ValueError, match="no zone"):
        list(signal_limits("e", {"dtstart": NOON.replace(tzinfo=None)}, signal, 0.0))


def test_older_versions_tests_and_what_cannot_be_read() -> None:
    source = OpenAdr2Source("http://x", VenIdentity("v"), 5e6)

    def event(version: int, level: float = 1.0, **about: Any) -> dict[str, Any]:
        signal = {"signal_name": "SIMPLE", "signal_type": "level", "intervals": [{"signal_payload": level}]}
        described = {"event_id": "e", "modification_number": version, "event_status": "active", "test_event": False}
        return {
            "event_descriptor": described | about,
            "active_period": {"dtstart": NOON, "duration": timedelta(0)},
            "event_signals": [signal],
        }

    endless = [StatedOrder("e.0.0", 5e6, NOON, None)]
    assert source._said([event(2)]) == endless
    assert source._said([event(1, 0.0)]) == endless  # a copy of before
    assert source._said([event(3, 0.0)]) == []
    assert source._said([event(4, test_event=True)]) == []
    assert "is a test" in str(source.doubt)
    assert source._said([event(5), {"event_descriptor": {}}, "rubbish"]) == endless
    assert "cannot be read" in str(source.doubt)
    price = event(6)
    price["event_signals"][0]["signal_name"] = "ELECTRICITY_PRICE"
    assert source._said([price]) == []
    assert "ELECTRICITY_PRICE is not carried out" in str(source.doubt)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('ven = "v"', "url"),
        ('url = "https://x"', "ven"),
        ('url = "https://x"\nven = "v"\ncert_file = "c"', "key_file"),
    ],
)
def test_what_a_sites_file_says_of_it_is_checked(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "edge.toml").write_text(f'[[orders]]\nsource = "openadr2b"\n{lines}\n')
    with pytest.raises(HardwareError, match=says):
        load_hardware(tmp_path / "edge.toml", make_site(), WallClock())
