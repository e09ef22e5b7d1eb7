"""A study's file from text, strictly: each mistake is one line that names file, line, field and what to write."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

import msgspec

from tieline.config import MAX_FILE_BYTES, ConfigError
from tieline.config.lines import MistakeError, dotted, line_of, problem_of
from tieline.study.checks import check
from tieline.study.file import Study


def example_text() -> str:
    """A study that runs from a fresh install, on invented days and an invented fleet."""
    return (resources.files("tieline.study") / "example.toml").read_text(encoding="utf-8")


def loads(text: str, file: str = "<text>") -> Study:
    """Read and check. Raises ConfigError."""
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(file, None, "file", f"{len(text):,} characters", f"a study is under {MAX_FILE_BYTES:,}")
    try:
        study = msgspec.convert(tomllib.loads(text), type=Study)
        check(study)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+)", str(error))
        line = int(match[1]) if match else len(text.splitlines())
        raise ConfigError(file, line, "TOML", str(error).split(" (at")[0], "correct the syntax of this line") from error
    except msgspec.ValidationError as error:
        where, field, problem, fix = problem_of(str(error), Study, {})
        problem, fix = _plainer(field.rsplit(".", 1)[-1], problem, fix)
        raise ConfigError(file, line_of(text, where), field, problem, fix) from error
    except MistakeError as mistake:
        field = dotted(mistake.path)
        raise ConfigError(file, line_of(text, mistake.path), field, mistake.problem, mistake.fix) from mistake
    return study


def _plainer(name: str, problem: str, fix: str) -> tuple[str, str]:
    """A complaint about a type as a planner would put it."""
    if "(0[1-9]|1[0-2])" in problem:
        return "this is no month", 'write it as "2026-01"'
    if "[A-Z]{3}" in problem:
        return "this is no currency", 'write its three capitals, "EUR"'
    if fix == "write at most 1":
        return problem, f"{fix}, as a fraction: 8 % is 0.08"
    if name == "mw" and fix.startswith("write at most"):
        return problem, f"write MW, not kW: {fix.removeprefix('write ')}"
    return problem, fix
