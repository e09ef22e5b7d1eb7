"""What stands at one site besides its rigs, from `sites/<site>/edge.toml`: meter, contactors, sources of orders.

The file belongs to the site and stays there; nothing of it travels. A mistake is one line that names the file, the
field and what it takes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec

from tieline.clock import Clock
from tieline.edge.meter import Meter
from tieline.edge.nodes.command import EngineCommand, Kind
from tieline.edge.orders.hook import HookSource
from tieline.edge.orders.mqtt import MqttBroker, MqttSource
from tieline.edge.orders.sources import ContactSource, FileSource, RegisterSource
from tieline.edge.plant.contactor import Contactor
from tieline.edge.plant.fans import Fans
from tieline.edge.plant.modbus import METERS, PORT, CoilContactor, CoilFans, ModbusLine, ModbusMeter, RegisterMap
from tieline.edge.rigs.breakers import Breaker, addresses_of
from tieline.feeds.notices.openadr2 import OpenAdr2Source, VenIdentity
from tieline.feeds.notices.openadr3 import OpenAdrSource
from tieline.feeds.notices.standing import OrderSource, SilencePolicy
from tieline.fleet.sites import Site

MAX_FILE = 1_000_000
FIRMWARES_WITH_PASSWORDS = ("antminer", "braiins", "vnish", "whatsminer-v2", "whatsminer-v3")


class HardwareError(ValueError):
    """One line: file, field, remedy."""


class _HardwareText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of the file is."""


class _Meter(_HardwareText, frozen=True, kw_only=True):
    host: str
    map: str | None = None
    register: RegisterMap | None = None
    port: int = PORT
    unit: int = 1
    ratio: float = 1.0
    reversed: bool = False


class _Contactor(_HardwareText, frozen=True, kw_only=True):
    feeder: str
    host: str
    coil: int
    port: int = PORT
    unit: int = 1
    open_value: bool = False


class _Fans(_HardwareText, frozen=True, kw_only=True):
    unit: str
    host: str
    coil: int
    port: int = PORT
    device: int = 1
    on_value: bool = True


class _Breaker(_HardwareText, frozen=True, kw_only=True):
    addresses: tuple[str, ...]
    at_once: int
    every_s: float = 10.0
    name: str | None = None


class _Engine(_HardwareText, frozen=True, kw_only=True):
    unit: str
    command: tuple[str, ...]
    kind: Kind = "vllm"
    environment: dict[str, str] = {}
    slots: int = 8
    context_tokens: int | None = None
    start_s: float = 900.0
    stop_s: float = 6.0


class _Orders(_HardwareText, frozen=True, kw_only=True):
    source: Literal["file", "http", "contact", "register", "openadr3", "openadr2b", "mqtt"]
    name: str | None = None
    path: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    token_file: str | None = None
    unit: int = 1
    address: int = 0
    kind: Literal["coil", "input"] = "input"
    when: bool = True
    limit_mw: float = 0.0
    register: RegisterMap | None = None
    url: str | None = None
    program: str | None = None
    client_id: str | None = None
    secret_file: str | None = None
    ven: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    fingerprint: str | None = None
    brokers: tuple[str, ...] = ()
    topic: str | None = None
    ack_topic: str | None = None
    user: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    repeats_s: float | None = None
    silent_after_s: float = 300.0
    when_silent: Literal["hold", "ignore", "curtail"] = "hold"
    silent_limit_mw: float = 0.0


class _HardwareFile(_HardwareText, frozen=True, kw_only=True):
    meter: _Meter | None = None
    contactor: tuple[_Contactor, ...] = ()
    fans: tuple[_Fans, ...] = ()
    breaker: tuple[_Breaker, ...] = ()
    engine: tuple[_Engine, ...] = ()
    orders: tuple[_Orders, ...] = ()
    password_files: dict[str, str] = {}  # by firmware


@dataclass(frozen=True, slots=True)
class SiteHardware:
    """Nothing is opened yet; each part connects when it is first used."""

    meter: Meter | None = None
    contactors: tuple[Contactor, ...] = ()
    fans: tuple[Fans, ...] = ()
    breakers: tuple[Breaker, ...] = ()
    sources: tuple[tuple[OrderSource, SilencePolicy], ...] = ()
    passwords: dict[str, str] = field(default_factory=dict)
    engines: dict[str, EngineCommand] = field(default_factory=dict)  # by node group


def load_hardware(path: Path, site: Site, clock: Clock) -> SiteHardware:
    """What the file says; a missing file means that there is nothing. Raises HardwareError."""
    if not path.exists():
        return SiteHardware()
    try:
        if path.stat().st_size > MAX_FILE:
            raise HardwareError(f"{path}: larger than {MAX_FILE} bytes")
        text = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=_HardwareFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise HardwareError(f"{path}: {error}") from None
    meter = None if text.meter is None else _meter(path, text.meter)
    contactors = tuple(_contactor(path, site, one) for one in text.contactor)
    fans = tuple(_fans(path, site, one) for one in text.fans)
    breakers = _breakers(path, site, text.breaker)
    sources = tuple((_source(path, one, n, clock), _silence(path, one)) for n, one in enumerate(text.orders))
    names = [source.name for source, _ in sources]
    if len(set(names)) != len(names):
        raise HardwareError(f"{path}: orders: two sources are named {max(names, key=names.count)!r}; name one")
    passwords = {}
    for firmware, name in text.password_files.items():
        if firmware not in FIRMWARES_WITH_PASSWORDS:
            known = ", ".join(FIRMWARES_WITH_PASSWORDS)
            raise HardwareError(f"{path}: password_files: {firmware!r} has no password here; known are {known}")
        passwords[firmware] = _secret(path, name, f"{path}: password_files.{firmware}")
    return SiteHardware(meter, contactors, fans, breakers, sources, passwords, _engines(path, site, text.engine))


def _meter(path: Path, text: _Meter) -> ModbusMeter:
    what = text.register
    if (text.map is None) == (what is None):
        raise HardwareError(f"{path}: meter: give map (one of {', '.join(sorted(METERS))}) or register, not both")
    if text.map is not None:
        what = METERS.get(text.map)
    if what is None:
        raise HardwareError(f"{path}: meter.map: {text.map!r} is not known; known are {', '.join(sorted(METERS))}")
    if not 0 < text.ratio < 1e6:
        raise HardwareError(f"{path}: meter.ratio {text.ratio}: give more than 0 and less than a million")
    return ModbusMeter(ModbusLine(text.host, text.port, text.unit), what, text.ratio, text.reversed)


def _contactor(path: Path, site: Site, text: _Contactor) -> CoilContactor:
    feeders = [feeder.id for feeder in site.feeders]
    if text.feeder not in feeders:
        raise HardwareError(f"{path}: contactor.feeder: {text.feeder!r} is not known; known are {', '.join(feeders)}")
    return CoilContactor(text.feeder, ModbusLine(text.host, text.port, text.unit), text.coil, text.open_value)


def _fans(path: Path, site: Site, text: _Fans) -> CoilFans:
    groups = [group.id for group in site.rig_groups]
    if text.unit not in groups:
        raise HardwareError(f"{path}: fans.unit: {text.unit!r} is no rig group; known are {', '.join(groups)}")
    return CoilFans(text.unit, ModbusLine(text.host, text.port, text.device), text.coil, text.on_value)


def _engines(path: Path, site: Site, texts: tuple[_Engine, ...]) -> dict[str, EngineCommand]:
    known = {group.id for group in site.node_groups if group.replicas_real}
    commands: dict[str, EngineCommand] = {}
    for n, text in enumerate(texts):
        where = f"{path}: engine[{n}]"
        if text.unit not in known or text.unit in commands:
            listed = ", ".join(sorted(known)) or "none"
            raise HardwareError(
                f"{where}.unit: {text.unit!r} has no real replicas, or is here twice; known are {listed}"
            )
        if not text.command or not any("{port}" in word for word in (*text.command, *text.environment.values())):
            raise HardwareError(f"{where}.command: give its words as a list, with {{port}} where it listens")
        if not 1 <= text.slots <= 4096 or not 1.0 <= text.start_s <= 7200.0 or not 0.0 <= text.stop_s <= 60.0:
            raise HardwareError(f"{where}: give slots 1 to 4096, start_s 1 to 7200 and stop_s 0 to 60")
        commands[text.unit] = EngineCommand(
            text.command, text.kind, text.environment, text.slots, text.context_tokens, text.start_s, text.stop_s
        )
    return commands


def _breakers(path: Path, site: Site, texts: tuple[_Breaker, ...]) -> tuple[Breaker, ...]:
    known = {address for group in site.rig_groups for address in group.addresses}
    taken: set[str] = set()
    breakers = []
    for n, text in enumerate(texts):
        where = f"{path}: breaker[{n}]"
        try:
            addresses = addresses_of(text.addresses)
        except ValueError as error:
            raise HardwareError(f"{where}.addresses: {error}") from None
        for wrong, why in ((addresses - known, "no rig of this site"), (addresses & taken, "behind two breakers")):
            if wrong:
                raise HardwareError(f"{where}.addresses: {min(wrong)} is {why}")
        if not 1 <= text.at_once <= 10_000 or not 0.1 <= text.every_s <= 3600.0:
            raise HardwareError(f"{where}: give at_once 1 to 10000 and every_s 0.1 to 3600")
        taken |= addresses
        breakers.append(Breaker(text.name or f"breaker {n + 1}", addresses, text.at_once, text.every_s))
    if len({one.name for one in breakers}) != len(breakers):
        raise HardwareError(f"{path}: breaker: two have one name; give each its own")
    return tuple(breakers)


def _source(path: Path, text: _Orders, n: int, clock: Clock) -> OrderSource:
    name, where = text.name or text.source, f"{path}: orders[{n}]"
    match text.source:
        case "file":
            if text.path is None:
                raise HardwareError(f"{where}.path: give the file that holds the orders")
            return FileSource(path.parent / text.path, name)
        case "http":
            return HookSource(clock, _token(path, text, where), text.host, text.port or 0, name)
        case "contact":
            line = ModbusLine(text.host, text.port or PORT, text.unit)
            return ContactSource(line, text.address, text.limit_mw * 1e6, text.kind, text.when, name)
        case "register":
            if text.register is None:
                raise HardwareError(f"{where}.register: give register, form, scale (to watts) and none_at")
            return RegisterSource(ModbusLine(text.host, text.port or PORT, text.unit), text.register, name)
        case "openadr3":
            return _openadr(path, text, where, name)
        case "openadr2b":
            return _openadr2(path, text, where, name)
        case "mqtt":
            return _mqtt(path, text, where, name)


def _openadr(path: Path, text: _Orders, where: str, name: str) -> OpenAdrSource:
    if text.url is None or text.program is None or not text.url.startswith(("https://", "http://")):
        raise HardwareError(f"{where}: give url (https://...) and program")
    client = None
    if text.client_id is not None:
        if text.secret_file is None:
            raise HardwareError(f"{where}.secret_file: give a file that holds the secret of {text.client_id}")
        client = (text.client_id, _secret(path, text.secret_file, f"{where}.secret_file"))
    return OpenAdrSource(text.url, text.program, client, text.limit_mw * 1e6, name, text.ven)


def _openadr2(path: Path, text: _Orders, where: str, name: str) -> OpenAdr2Source:
    if text.url is None or not text.url.startswith(("https://", "http://")) or text.ven is None:
        raise HardwareError(f"{where}: give url (https://.../OpenADR2/Simple/2.0b) and ven, the site's name there")
    if (text.cert_file is None) != (text.key_file is None):
        raise HardwareError(f"{where}: give cert_file and key_file together")
    cert, key, ca = (
        None if one is None else str(path.parent / one) for one in (text.cert_file, text.key_file, text.ca_file)
    )
    identity = VenIdentity(text.ven, cert, key, ca, text.fingerprint)
    return OpenAdr2Source(text.url, identity, text.limit_mw * 1e6, name)


def _mqtt(path: Path, text: _Orders, where: str, name: str) -> MqttSource:
    if not 1 <= len(text.brokers) <= 2 or not all(one.startswith(("mqtt://", "mqtts://")) for one in text.brokers):
        raise HardwareError(f"{where}.brokers: give one or two, each mqtt://host:1883 or mqtts://host:8883")
    if not text.topic or "#" in text.topic or "+" in text.topic:
        raise HardwareError(f"{where}.topic: give one topic, without wildcards")
    if text.repeats_s is not None and not 1.0 <= text.repeats_s <= 86_400.0:
        raise HardwareError(f"{where}.repeats_s {text.repeats_s}: give 1 to 86400")
    secret = None if text.password_file is None else _secret(path, text.password_file, f"{where}.password_file")
    ca = None if text.ca_file is None else path.parent / text.ca_file
    brokers = tuple(MqttBroker(one, text.user, secret, ca) for one in text.brokers)
    repeats = None if text.repeats_s is None else timedelta(seconds=text.repeats_s)
    return MqttSource(brokers, text.topic, path.parent / f"mqtt-{name}.json", text.ack_topic, repeats, name)


def _token(path: Path, text: _Orders, where: str) -> str:
    """From a file of its own beside, so that this one can be shown."""
    if text.token_file is None:
        raise HardwareError(f"{where}.token_file: give a file that holds the token, 16 characters or more")
    token = _secret(path, text.token_file, f"{where}.token_file")
    if len(token) < 16:
        raise HardwareError(f"{where}.token_file: the token has {len(token)} characters; give at least 16")
    return token


def _secret(path: Path, name: str, where: str) -> str:
    """The content of a file beside the site's own, without the spaces around it."""
    try:
        secret = (path.parent / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HardwareError(f"{where}: {error}") from None
    if not secret or len(secret) > 1000:
        raise HardwareError(f"{where}: {name} holds {len(secret)} characters; give 1 to 1000")
    return secret


def _silence(path: Path, text: _Orders) -> SilencePolicy:
    if not 1.0 <= text.silent_after_s <= 86_400.0:
        raise HardwareError(f"{path}: orders.silent_after_s {text.silent_after_s}: give 1 to 86400")
    return SilencePolicy(timedelta(seconds=text.silent_after_s), text.when_silent, text.silent_limit_mw * 1e6)
