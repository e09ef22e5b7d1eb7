"""Meters, contactors and contacts over real Modbus TCP sockets, with every bad manner."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.edge_bench import NOON, Bench, make_site

from tieline.clock import SimClock, WallClock
from tieline.edge.agent import Agent, Equipment
from tieline.edge.device import Reading, Unreachable
from tieline.edge.plant import modbus
from tieline.edge.plant.fans import FanWatch
from tieline.edge.plant.hardware import HardwareError, load_hardware
from tieline.edge.plant.modbus import METERS, CoilContactor, CoilFans, ModbusLine, ModbusMeter, RegisterMap
from tieline.records import Fault, MeterReading
from tieline.sim.modbus import FakeModbus


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def words(form: str, value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(form, value)))


@pytest.mark.parametrize(
    ("name", "registers", "watts"),
    [
        ("eastron-sdm630", words(">f", 9_750_000.0), 9_750_000.0),
        ("carlo-gavazzi-em24", words(">i", 123_456)[::-1], 12_345.6),  # the low word first, tenths of watts
        ("schneider-pm5000", words(">f", 9_750.0), 9_750_000.0),  # kilowatts
        ("janitza-umg", words(">f", -40.0), 0.0),  # at no load
    ],
)
def test_each_map_reads_its_meter(name: str, registers: list[int], watts: float) -> None:
    async def story() -> None:
        device = FakeModbus()
        for n, word in enumerate(registers):
            device.registers[METERS[name].register + n] = word
        meter = ModbusMeter(ModbusLine("127.0.0.1", await device.start()), METERS[name])
        reading = await meter.read(NOON)
        assert isinstance(reading, Reading)
        assert reading.power_w == pytest.approx(watts)
        await meter.close()
        await device.stop()

    run(story)


@pytest.mark.parametrize("registers", [words(">f", float("nan")), words(">f", float("inf"))])
def test_what_is_no_number_is_no_value_and_no_zero(registers: list[int]) -> None:
    async def story() -> None:
        device = FakeModbus(registers=dict(zip((52, 53), registers, strict=True)))
        meter = ModbusMeter(ModbusLine("127.0.0.1", await device.start()), METERS["eastron-sdm630"])
        answer = await meter.read(NOON)
        assert isinstance(answer, Unreachable)
        assert "no value" in answer.why
        await meter.close()
        await device.stop()

    run(story)


def test_a_sentinel_is_no_value() -> None:
    assert METERS["carlo-gavazzi-em24"].value([0xFFFF, 0x7FFF]) is None


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.booleans())
def test_word_order_is_undone_exactly(value: float, low_first: bool) -> None:
    what = RegisterMap(register=0, form="float32", words="low_first" if low_first else "high_first")
    sent = words(">f", value)
    assert what.value(sent[::-1] if low_first else sent) == value


@pytest.mark.parametrize("manner", ["hang", "drop", "garbage", "exception"])
def test_a_meter_with_bad_manners_is_silent_and_well_again_after(manner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus, "TIMEOUT_S", 0.1)

    async def story() -> None:
        device = FakeModbus(manner=manner)  # type: ignore[arg-type]
        device.set_float(52, 5e6)
        meter = ModbusMeter(ModbusLine("127.0.0.1", await device.start()), METERS["eastron-sdm630"])
        async with asyncio.timeout(5):
            assert isinstance(await meter.read(NOON), Unreachable)
            device.manner = "well"
            answer = await meter.read(NOON)
        assert isinstance(answer, Reading), answer
        await meter.close()
        await device.stop()

    run(story)


def test_a_contactor_is_open_when_its_coil_reads_back_open() -> None:
    async def story() -> None:
        device = FakeModbus(coils={3: True})
        contactor = CoilContactor("s.f-mine", ModbusLine("127.0.0.1", await device.start()), 3)
        device.manner = "stuck"
        assert await contactor.open() is False
        device.manner = "well"
        assert await contactor.open() is True
        assert device.coils[3] is False
        await contactor.close()
        await device.stop()

    run(story)


FILE = """
[meter]
map = "eastron-sdm630"
host = "127.0.0.1"
port = {port}

[[contactor]]
feeder = "s.f-mine"
host = "127.0.0.1"
port = {port}
coil = 7
"""


def test_an_agent_meters_and_cuts_over_modbus_what_its_site_file_names(tmp_path: Path) -> None:
    """Groups that obey nothing: the meter sees it, the feeder's contactor ends it, the readings are on record."""

    async def story() -> None:
        bench = Bench(tmp_path)
        device = FakeModbus(coils={7: True})

        def metered() -> list[int]:
            if not device.coils[7]:
                bench.old.true_w = bench.new.true_w = 0.0
            return words(">f", bench.true_mw * 1e6)

        device.computed[52] = metered
        (tmp_path / "edge.toml").write_text(FILE.format(port=await device.start()))
        hardware = load_hardware(tmp_path / "edge.toml", bench.site, bench.clock)
        bench.agent = Agent(
            bench.clock, bench.site, Equipment(bench.devices, hardware.meter, hardware.contactors), bench.outbox,
            bench.link,
        )  # fmt: skip
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        bench.old.obeys = bench.new.obeys = False
        bench.order(limit_mw=3)
        await bench.step(40)
        assert device.writes == [(7, False)]
        assert bench.true_mw <= 3
        assert any("s.f-mine was opened" in r.detail for r in bench.kept() if isinstance(r, Fault))
        await bench.step(30)
        assert [r for r in bench.kept() if isinstance(r, MeterReading) and (r.power_w or 0) > 5e6]
        await bench.agent.close()
        await device.stop()

    run(story)


def test_no_rig_runs_without_air_and_fans_stop_some_time_after_the_rigs(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        device = FakeModbus(coils={1: False})
        line = ModbusLine("127.0.0.1", await device.start())
        bench.agent.fans = FanWatch((CoilFans("s.rigs-1", line, 1),))
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(3)
        assert device.coils[1]  # rigs that were found running get air
        bench.plan(gpu=2, old=0, new=4)
        await bench.step(20)
        assert bench.old.true_w == 0
        assert device.coils[1]  # boards are still hot
        await bench.step(30)
        assert not device.coils[1]
        device.manner = "stuck"
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(12)
        assert bench.old.true_w == 0
        assert bench.new.true_w == 4e6
        (fault,) = [r for r in bench.kept() if isinstance(r, Fault) and r.what == "fans"]
        assert "s.rigs-1" in fault.detail
        device.manner = "well"
        await bench.step(3)
        assert device.coils[1]
        assert bench.old.true_w == 4e6
        await bench.agent.close()
        await device.stop()

    run(story)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[meter]\nhost = 'x'\nmap = 'sdm'", "meter.map: 'sdm' is not known; known are carlo-gavazzi-em24"),
        ("[meter]\nhost = 'x'", "give map (one of"),
        ("[meter]\nhst = 'x'", "unknown field `hst`"),
        ("[[contactor]]\nfeeder = 'f'\nhost = 'x'\ncoil = 1", "contactor.feeder: 'f' is not known; known are s.f-gpu"),
        ("[[fans]]\nunit = 'f'\nhost = 'x'\ncoil = 1", "fans.unit: 'f' is no rig group; known are s.rigs-1"),
        ("[[orders]]\nsource = 'http'", "orders[0].token_file"),
        ("[[orders]]\nsource = 'file'", "orders[0].path"),
        ("[[orders]]\nsource = 'fax'", "orders[0].source"),
        ("meter = ", "Invalid value"),
    ],
)
def test_a_mistake_in_the_sites_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(text)
    with pytest.raises(HardwareError) as error:
        load_hardware(path, make_site(), SimClock(NOON))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('addresses = ["10.9.9.1"]\nat_once = 2', "is no rig of this site"),
        ('addresses = ["x"]\nat_once = 2', "is no address"),
        ('addresses = ["127.0.0.1-2"]\nat_once = 0', "at_once"),
        ('addresses = ["127.0.0.1"]\nat_once = 1\n[[breaker]]\naddresses = ["127.0.0.1"]\nat_once = 1', "two breakers"),
    ],
)
def test_breakers_are_checked(tmp_path: Path, lines: str, says: str) -> None:
    site = make_site()
    unit = msgspec.structs.replace(site.rig_groups[0], addresses=("127.0.0.1", "127.0.0.2"))
    site = msgspec.structs.replace(site, rig_groups=(unit,))
    path = tmp_path / "edge.toml"
    path.write_text(f"[[breaker]]\n{lines}\n")
    with pytest.raises(HardwareError, match=says):
        load_hardware(path, site, WallClock())
    path.write_text('[[breaker]]\naddresses = ["127.0.0.1-2"]\nat_once = 1\n')
    (breaker,) = load_hardware(path, site, WallClock()).breakers
    assert (breaker.name, len(breaker.addresses)) == ("breaker 1", 2)
