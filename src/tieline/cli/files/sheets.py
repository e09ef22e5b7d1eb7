"""`tieline import rigs` and `import tenants`: a spreadsheet into a configuration file, with the difference shown first.

What the sheet does not name stays. The file is written whole or not at all, and only once the check takes it.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from tieline import config as configuration
from tieline.app.beginning import FoundRig, Ground, address_spans, read_rigs, site_id, site_text
from tieline.app.runtime import Runtime
from tieline.books.treasury.sheets import Sheet, SheetError, SheetRow, each, rows
from tieline.cli.files.tables import sheet_of
from tieline.cli.outcome import NothingThereError
from tieline.config import ConfigError
from tieline.config.build import addresses_of
from tieline.config.edit import EditError, with_table, with_values, written

TENANT_COLUMNS: Final = (
    "tenant", "name", "budget_usd_per_month", "requests_per_minute", "tokens_per_minute", "concurrent_requests",
)  # fmt: skip
_COUNTS: Final = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")


@dataclass(slots=True)
class Brought:
    """The file's text with the sheet in it, and what that came to."""

    text: str
    read: int = 0
    new: int = 0
    changed: int = 0
    as_before: int = 0


def bring(
    what: str, sheet: Path, config: Path | None, data: Path, mapping: Mapping[str, str], *, dry_run: bool
) -> tuple[Brought, list[str], Path]:
    """(what it came to, the difference line by line, the file). Raises click.ClickException."""
    file = _file_of(config, data)
    before = file.read_text(encoding="utf-8")
    make: Callable[[str, Sheet, Mapping[str, str]], Brought] = with_rigs if what == "rigs" else with_tenants
    try:
        made = make(before, sheet_of(sheet, what), mapping)
        configuration.loads(made.text, str(file), file.parent)
    except (SheetError, EditError) as error:
        raise click.ClickException(f"{sheet.name}: {error}") from error
    except (ConfigError, tomllib.TOMLDecodeError) as error:
        raise click.ClickException(f"{sheet.name}: {file} would no longer be right: {error}") from error
    lines = difflib.unified_diff(before.splitlines(), made.text.splitlines(), file.name, file.name, lineterm="", n=1)
    difference = list(lines)
    if not dry_run and made.text != before:
        fresh = file.with_name(f"{file.name}.new")
        fresh.write_text(made.text, encoding="utf-8")
        fresh.chmod(file.stat().st_mode & 0o777)
        fresh.replace(file)
    return made, difference, file


def say(sheet: Path, told: tuple[Brought, list[str], Path], *, dry_run: bool, as_json: bool) -> None:
    made, difference, file = told
    counts = {"read": made.read, "new": made.new, "changed": made.changed, "as_before": made.as_before}
    if as_json:
        click.echo(
            json.dumps({**counts, "recorded": not dry_run, "file": str(file), "difference": difference}, indent=2)
        )
        return
    if dry_run and difference:
        click.echo("\n".join(difference))
    word = "would be new" if dry_run else "new"
    click.echo(f"{sheet.name}: {made.read} read, {made.new} {word}, {made.changed} changed, {made.as_before} as before")
    if difference and not dry_run:
        click.echo(f"{file} is written; it holds from the next start of `tieline up --config {file}`")


def _file_of(config: Path | None, data: Path) -> Path:
    if config is None:
        run = data / "run" / "runtime.json"
        named = Runtime.load(run).config if run.exists() else None
        if named is None:
            raise click.UsageError("name the configuration to change: --config fleet.toml (`tieline init` makes one)")
        config = Path(named)
    if not config.is_file():
        raise NothingThereError(f"no file {config}; `tieline init` makes one from the same sheet")
    return config


# --- rigs -------------------------------------------------------------------------------------------------


def with_rigs(before: str, sheet: Sheet, mapping: Mapping[str, str]) -> Brought:
    """Each rig of the sheet at its site; sites that the file does not have are added, observing. Raises SheetError,
    EditError."""
    raw = tomllib.loads(before)
    known = raw.get("site", [])
    only = known[0].get("name", known[0]["id"]) if len(known) == 1 else "Site one"
    rigs = read_rigs(sheet, mapping, only)
    made = Brought(before, read=len(rigs))
    ids = {word: one["id"] for one in known for word in (one.get("name"), one["id"])}
    by_site: dict[str, list[FoundRig]] = {}
    for rig in rigs:
        by_site.setdefault(ids.get(rig.site, site_id(rig.site)), []).append(rig)
    for id_, found in by_site.items():
        site = next((one for one in known if one["id"] == id_), None)
        if site is None:
            addition = site_text(found[0].site, found, Ground())
            made.text, made.new = with_table(made.text, addition), made.new + len(found)
            continue
        groups = _merged(site["id"], [dict(one) for one in site.get("rigs", [])], found, made)
        if groups != site.get("rigs", []):
            made.text = with_values(made.text, "site", site["id"], {"rigs": groups})
    return made


def _merged(site: str, groups: list[dict[str, Any]], rigs: Sequence[FoundRig], made: Brought) -> list[dict[str, Any]]:
    """The site's groups with the rigs in them; counts what was new and what changed."""
    held = [addresses_of(tuple(group.get("addresses", ()))) for group in groups]
    where = {address: n for n, addresses in enumerate(held) for address in addresses}
    touched: set[int] = set()
    for rig in rigs:
        kind, at = (rig.model, rig.firmware), where.get(rig.address)
        if at is not None and _kind(groups[at]) == kind:
            made.as_before += 1
            continue
        made.new, made.changed = made.new + (at is None), made.changed + (at is not None)
        if at is not None:
            held[at].remove(rig.address)
            touched.add(at)
        target = next((n for n, group in enumerate(groups) if _kind(group) == kind and "addresses" in group), None)
        if target is None:
            target = len(groups)
            groups.append({"model": rig.model, "firmware": rig.firmware})
            held.append([])
        held[target].append(rig.address)
        touched.add(target)
    for n in touched:
        groups[n]["addresses"] = address_spans(held[n])
    _without_empty(site, groups, held, touched)
    return groups


def _without_empty(site: str, groups: list[dict[str, Any]], held: list[list[str]], touched: set[int]) -> None:
    """Take the last groups out that have no rig left. Raises SheetError for one that others stand behind."""
    while groups and not held[len(groups) - 1] and len(groups) - 1 in touched:
        groups.pop()
    empty = next((n for n in touched if n < len(groups) and not held[n]), None)
    if empty is not None:
        raise SheetError(
            f"site {site}: no rig would be left in its group {empty + 1} ({groups[empty]['model']}), and the groups "
            "behind it would change their names; change its model in the file by hand"
        )


def _kind(group: Mapping[str, Any]) -> tuple[str, str]:
    return str(group["model"]), str(group.get("firmware", "stock"))


# --- tenants ----------------------------------------------------------------------------------------------


def with_tenants(before: str, sheet: Sheet, mapping: Mapping[str, str]) -> Brought:
    """Each tenant of the sheet with the limits that its cells give. Raises SheetError with every mistake, EditError."""
    made = Brought(before)
    lines: dict[str, int] = {}

    def tenant(row: SheetRow) -> tuple[str, dict[str, Any]]:
        id_, values = _tenant(row)
        if id_ in lines:
            raise SheetError(f"line {row.line}, tenant: {id_!r} stands in line {lines[id_]} already")
        lines[id_] = row.line
        return id_, values

    known = {one["id"]: one for one in tomllib.loads(before).get("tenant", [])}
    for id_, values in each(rows(sheet, ("tenant",), TENANT_COLUMNS, mapping), tenant):
        made.read += 1
        if id_ not in known:
            made.new += 1
            values = {"id": id_, "name": id_, **values}
            made.text = with_table(
                made.text, "[[tenant]]\n" + "".join(f"{k} = {written(v)}\n" for k, v in values.items())
            )
            continue
        fresh = {key: value for key, value in values.items() if known[id_].get(key) != value}
        made.changed, made.as_before = made.changed + bool(fresh), made.as_before + (not fresh)
        if fresh:
            made.text = with_values(made.text, "tenant", id_, fresh)
    if not made.read:
        raise SheetError("the sheet has no tenants; give one a line")
    return made


def _tenant(row: SheetRow) -> tuple[str, dict[str, Any]]:
    """Its id, and the values that stand in its row: an empty cell changes nothing."""
    values: dict[str, Any] = {}
    if name := row.text("name", ""):
        values["name"] = name
    if row.text("budget_usd_per_month", ""):
        budget = row.cents("budget_usd_per_month")
        if budget < 0:
            raise SheetError(f"line {row.line}, budget_usd_per_month: {budget} is below zero")
        values["budget_usd_per_month"] = f"{budget.normalize():f}"
    for column in _COUNTS:
        if row.text(column, ""):
            count = row.number(column)
            if count != int(count) or count < 1:
                raise SheetError(f"line {row.line}, {column}: {row.text(column)!r} is no whole number above zero")
            values[column] = int(count)
    return row.text("tenant"), values
