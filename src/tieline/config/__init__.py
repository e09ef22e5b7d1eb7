"""TOML into frozen structs, strictly: what a file says is checked whole before anything starts.

Knows no hardware and starts nothing. Every mistake is told at once, each by the file, the line, the field and
what to write instead. Unknown keys are refused: a misspelt limit must not become no limit.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from tieline.config.build import build
from tieline.config.check import SELF_TEST, is_loopback
from tieline.config.every import Mistake, every
from tieline.config.lines import MistakeError, dotted, line_of, problem_of
from tieline.config.sections import (
    Config,
    Console,
    Dispatch,
    Feeds,
    Gateway,
    Key,
    LinkDoor,
    Login,
    Model,
    NoticeSource,
    Pool,
    Rental,
    Tenant,
    Treasury,
)
from tieline.config.text import CHOICES, FileText

__all__ = [
    "SELF_TEST",
    "Config",
    "ConfigError",
    "Console",
    "Dispatch",
    "Feeds",
    "Gateway",
    "Key",
    "LinkDoor",
    "Login",
    "Model",
    "NoticeSource",
    "Pool",
    "Rental",
    "Tenant",
    "Treasury",
    "demo",
    "example_text",
    "is_loopback",
    "load",
    "loads",
    "with_engine_model",
    "with_rig_block",
]

# Forty sites take 20 KB; a file of this size is a mistake (a log, a database), not a fleet.
MAX_FILE_BYTES = 4_000_000


class ConfigError(ValueError):
    """A mistake in one file, in words a person can act on. `more`: the others of the same file, a line each."""

    def __init__(
        self, file: str, line: int | None, field: str, problem: str, fix: str, more: tuple[ConfigError, ...] = ()
    ) -> None:
        self.file, self.line, self.field, self.problem, self.fix, self.more = file, line, field, problem, fix, more
        where = file if line is None else f"{file}:{line}"
        super().__init__("\n".join([f"{where}: {field}: {problem}; {fix}", *map(str, more)]))


def load(path: Path | str) -> Config:
    """Read and check one file. Raises ConfigError."""
    name = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            name, None, "file", error.strerror or str(error), "give a path to a file you can read"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            name, None, "file", f"{len(data):,} bytes", f"a configuration is under {MAX_FILE_BYTES:,} bytes"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(name, line, "file", "not UTF-8 text", "save the file as UTF-8") from error
    return loads(text, name, Path(path).parent)


def loads(text: str, file: str = "<text>", base: Path = Path()) -> Config:
    """The same from text; file names in it are relative to `base`. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+)", str(error))
        line = int(match[1]) if match else len(text.splitlines())
        raise ConfigError(file, line, "TOML", str(error).split(" (at")[0], "correct the syntax of this line") from error
    except RecursionError as error:
        raise ConfigError(file, None, "TOML", "nested too deeply", "take the brackets out") from error
    if (at := _not_finite(raw, ())) is not None:
        raise ConfigError(file, line_of(text, at), dotted(at), "not a finite number", "write an ordinary number")
    try:
        return build(msgspec.convert(raw, type=FileText), base)
    except (msgspec.ValidationError, MistakeError):
        told = every(raw, lambda left: _first_mistake(left, base))
        raise _told(file, text, told) from None


def _first_mistake(raw: dict[str, Any], base: Path) -> Mistake | None:
    try:
        build(msgspec.convert(raw, type=FileText), base)
    except msgspec.ValidationError as error:
        return Mistake(*problem_of(str(error), FileText, CHOICES))
    except MistakeError as mistake:
        field = f"{mistake.what}{mistake.path[-1]}" if mistake.what else dotted(mistake.path)
        return Mistake(mistake.path, field, mistake.problem, mistake.fix)
    return None


def _told(file: str, text: str, mistakes: Sequence[Mistake]) -> ConfigError:
    """All of them, by their lines."""
    lined = [(line_of(text, one.path), one) for one in mistakes]
    lined.sort(key=lambda pair: pair[0] or 0)
    told = [ConfigError(file, line, one.field, one.problem, one.fix) for line, one in lined]
    return ConfigError(file, told[0].line, told[0].field, told[0].problem, told[0].fix, tuple(told[1:]))


def _not_finite(value: object, at: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """Path of the first nan or inf: TOML allows them, no quantity here does."""
    if isinstance(value, float) and not math.isfinite(value):
        return at
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return next((bad for key, item in items if (bad := _not_finite(item, (*at, key))) is not None), None)


def example_text() -> str:
    """The demo fleet as text, to copy and edit."""
    return (resources.files("tieline.app") / "demo" / "fleet.toml").read_text(encoding="utf-8")


def demo() -> Config:
    """The invented fleet that the package runs when it is given no other."""
    return loads(example_text(), "demo/fleet.toml")


def with_rig_block(config: Config, block: str) -> Config:
    """The same fleet with its fake rigs moved to `block`.1, `block`.2 ... ("127.0.90"), so that two platforms
    can stand on one machine. Real rigs keep their addresses."""
    taken = 0
    sites = []
    for site in config.fleet.sites:
        groups = []
        for group in site.rig_groups:
            if group.hardware == "fake":
                first, taken = taken, taken + group.rigs
                addresses = tuple(f"{block}.{n + 1}" for n in range(first, taken))
                groups.append(msgspec.structs.replace(group, addresses=addresses))
            else:
                groups.append(group)
        sites.append(msgspec.structs.replace(site, rig_groups=tuple(groups)))
    if taken > 254:
        raise ValueError(f"{taken} fake rigs do not fit in {block}.1 to {block}.254")
    return msgspec.structs.replace(config, fleet=msgspec.structs.replace(config.fleet, sites=tuple(sites)))


def with_acting(config: Config, acting: tuple[str, ...]) -> Config:
    """The same fleet with each site that would act, is not invented and is not among `acting` asking first."""
    sites = tuple(
        msgspec.structs.replace(site, mode="advise")
        if site.mode == "act" and not site.invented and site.id not in acting
        else site
        for site in config.fleet.sites
    )
    return msgspec.structs.replace(config, fleet=msgspec.structs.replace(config.fleet, sites=sites))


def with_engine_model(config: Config, path: str, name: str, label: str = "") -> Config:
    """The same, its real replicas serving the GGUF file at `path` under `name`."""
    old = config.engine_model or Model(name=name, engine="llama.cpp")
    new = msgspec.structs.replace(old, name=name, path=path, label=label)
    others = tuple(model for model in config.models if model is not old)
    return msgspec.structs.replace(config, models=(new, *others))
