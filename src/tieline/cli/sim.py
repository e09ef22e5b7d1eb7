"""`tieline sim`: fake rigs, meters and order servers on loopback sockets, for anyone's tests."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from tieline.fleet.models import RIG_MODELS
from tieline.intake import IntakeError, read
from tieline.sim.modbus import FakeModbus
from tieline.sim.rigs.machine import FaultName
from tieline.sim.rigs.server import FIRMWARES, FakeRigs
from tieline.sim.vtn import FakeVtn


class _FakesText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of the files is."""


class _Rack(_FakesText, frozen=True, kw_only=True):
    model: str
    first: str
    count: int = 1
    firmware: str = "stock"
    faults: tuple[FaultName, ...] = ()
    faulty: int = 0
    noise: float = 0.0


class _Rigs(_FakesText, frozen=True, kw_only=True):
    rigs: tuple[_Rack, ...]
    ports: dict[str, int] = {}


class _FakeMeter(_FakesText, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 5020
    floats: dict[str, float] = {}
    registers: dict[str, int] = {}
    coils: dict[str, bool] = {}


@click.group()
def sim() -> None:
    """Fakes that speak the real protocols, on loopback."""


@sim.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def rigs(file: Path) -> None:
    """Serve the racks of fake rigs that FILE names, until Ctrl-C.

    \b
    [[rigs]]
    model = "Antminer S21"
    firmware = "luxos"        # luxos, antminer, antminer-2019, whatsminer-v2, whatsminer-v3, vnish, braiins
    first = "127.0.90.1"
    count = 60
    faults = ["hang"]         # of the first `faulty` of them
    faulty = 2
    [ports]                   # where ports below 1024 need a privilege
    80 = 8080
    """
    text = _read(file, _Rigs)
    ports = {int(key): value for key, value in text.ports.items() if key.isdigit()}
    racks = []
    for n, rack in enumerate(text.rigs):
        if rack.model not in RIG_MODELS:
            raise click.ClickException(f"{file}: rigs[{n}].model: no rig model {rack.model!r}")
        if rack.firmware not in (*FIRMWARES, "stock"):
            known = ", ".join(sorted(FIRMWARES))
            raise click.ClickException(f"{file}: rigs[{n}].firmware: no fake speaks {rack.firmware!r}; known: {known}")
        fakes = FakeRigs(addresses(rack.first, rack.count), RIG_MODELS[rack.model], firmware=rack.firmware, ports=ports)
        for number, one in enumerate(fakes.rigs.values()):
            one.noise = rack.noise
            if number < rack.faulty:
                one.faults.update(rack.faults)
        racks.append(fakes)
    _until_stopped(_serve(racks))


async def _serve(racks: list[FakeRigs]) -> None:
    for rack in racks:
        standing = await rack.start()
        click.echo(f"{standing} of {len(rack.rigs)} {rack.firmware} rigs from {next(iter(rack.rigs))}")
        if rack.problem:
            click.echo(rack.problem, err=True)
    await asyncio.Event().wait()


async def _followed(file: Path, changed: Callable[[], None]) -> None:
    """Call `changed` now, and whenever the file was written anew; for ever."""
    seen = 0.0
    while True:
        written = file.stat().st_mtime
        if written != seen:
            seen = written
            changed()
        await asyncio.sleep(1.0)


@sim.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def meter(file: Path) -> None:
    """Serve the Modbus TCP device that FILE describes, until Ctrl-C; a changed file is read again.

    \b
    port = 5020
    [floats]                  # float32 in two registers, high word first
    52 = 9750000.0
    [coils]
    3 = true
    """
    text = _read(file, _FakeMeter)

    async def serve() -> None:
        device = FakeModbus()
        click.echo(f"Modbus TCP on {text.host}:{await device.start(text.host, text.port)}")
        await _followed(file, lambda: _fill(device, _read(file, _FakeMeter)))

    _until_stopped(serve())


@sim.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8442, show_default=True, help="0 takes a free one.")
def vtn(file: Path, port: int) -> None:
    """Serve the OpenADR 3 events that FILE (a JSON list) holds, until Ctrl-C; a changed file is read again.

    The client is simulated-ven, its secret simulated-secret.
    """

    async def serve() -> None:
        server = FakeVtn()
        click.echo(f"OpenADR 3 on http://127.0.0.1:{await server.start(port=port)}")
        await _followed(file, lambda: take(server))

    def take(server: FakeVtn) -> None:
        try:
            server.events = read(file.read_bytes(), msgspec.json.Decoder(list[dict[str, Any]]).decode)
        except IntakeError as error:
            click.echo(f"{file}: {error}; the events before it are served on", err=True)

    _until_stopped(serve())


def _fill(device: FakeModbus, text: _FakeMeter) -> None:
    for key, value in text.floats.items():
        device.set_float(int(key), value)
    device.registers.update({int(key): value for key, value in text.registers.items()})
    device.coils.update({int(key): value for key, value in text.coils.items()})


def addresses(first: str, count: int) -> tuple[str, ...]:
    """`count` loopback addresses from `first` on. Raises click.ClickException."""
    parts = first.split(".")
    if len(parts) != 4 or parts[0] != "127" or not all(part.isdigit() and int(part) < 256 for part in parts):
        raise click.ClickException(f"first {first!r}: give a loopback address such as 127.0.90.1")
    start = int(parts[1]) << 16 | int(parts[2]) << 8 | int(parts[3])
    if not 1 <= count <= 65_536 or start + count >= 1 << 24:
        raise click.ClickException(f"count {count}: give 1 to 65536, within 127.0.0.0/8")
    return tuple(f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(start, start + count))


def _read(file: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), type=kind)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise click.ClickException(f"{file}: {error}") from None


def _until_stopped(work: Any) -> None:
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        click.echo("Stopped.")
    except OSError as error:
        raise click.ClickException(str(error)) from None
