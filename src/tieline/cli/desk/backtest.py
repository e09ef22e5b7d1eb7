"""`tieline backtest`: dispatch policies on recorded days, beside what no policy could beat."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from pathlib import Path

import click
import msgspec

from tieline.backtest.noise import Noise
from tieline.backtest.page import page
from tieline.backtest.report import assumed, to_csv, to_figures, to_markdown
from tieline.backtest.run import SCENARIOS, Numbers, ScenarioOptions, ScenarioResult, run_scenario
from tieline.cli.desk.past import days_of_store, lines
from tieline.cli.desk.replay import moment
from tieline.cli.folder import configured, fleet_file
from tieline.dispatch import Settings
from tieline.dispatch.inputs.forecasters import FORECASTERS
from tieline.dispatch.inputs.learned import MissingLibraryError, library
from tieline.dispatch.settings import Forecasting, settings_of
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.replay.run import ReplayError

# A year or fifteen weeks: each process holds one copy of the prices, some 200 MB.
_MOST_JOBS = 8
# Of rules that no other days were given to tune: fixed strike, worst-first, static order, dead band.
USUAL_NUMBERS = "80,70,0.3,80,0.3"


class Bar:
    """One line that is written over; nothing where nobody watches."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()

    def __call__(self, what: str, done: int, of: int) -> None:
        if not self.shown:
            return
        part = done / of if of else 1.0
        click.echo(f"\r\033[K  {'#' * round(24 * part):<24} {part:4.0%}  {what}", err=True, nl=False)

    def clear(self) -> None:
        if self.shown:
            click.echo("\r\033[K", err=True, nl=False)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of recorded days (see docs/replay.md).")
@click.option(
    "--store", type=click.Path(path_type=Path), help="A platform's data folder: its own past, inference left out."
)
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice(SCENARIOS),
    multiple=True,
    help="May be given several times (docs/backtest.md says what each is). Default: the days that the folder says it "
    "is for, else A.",
)
@fleet_file
@click.option("--from", "start", type=moment, help="First hour, UTC: other days, run the way of the scenario.")
@click.option("--to", "end", type=moment, help="End, UTC, not included.")
@click.option("--first", "limit", type=click.IntRange(min=1), help="Only the first months or weeks.")
@click.option("--policy", "policies", multiple=True, help="Only this policy; may be given several times.")
@click.option(
    "--forecaster",
    type=click.Choice(FORECASTERS),
    help="What Tieline expects of prices: analog where nothing else is set (learned: the extra forecast).",
)
@click.option(
    "--demand-noise", type=click.FloatRange(0.0, 1.0), help="Spread of demand around the recorded week, 0.2 say."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of that noise.")
@click.option("--no-ablations", is_flag=True, help="Leave out look-ahead without each coupling.")
@click.option(
    "--set",
    "given",
    help="Numbers of the simple rules instead of tuning: fixed,worst,share,static and, where given, band.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for report.md, report.csv, report.html, report.json."
)
@click.option(
    "--jobs", type=click.IntRange(1, _MOST_JOBS), default=1, show_default=True, help="Processes side by side."
)
def backtest(
    data: Path | None,
    store: Path | None,
    scenarios: tuple[str, ...],
    config: Path | None,
    start: datetime | None,
    end: datetime | None,
    limit: int | None,
    policies: tuple[str, ...],
    forecaster: Forecasting | None,
    demand_noise: float | None,
    seed: int,
    no_ablations: bool,
    given: str | None,
    out: Path | None,
    jobs: int,
) -> None:
    """Compare dispatch policies on recorded days.

    Every policy runs on the same modelled fleet and sees only what was known. Nothing depends on the wall clock:
    the same days give the same bytes.
    """
    between, numbers = _between(start, end), None if given is None else rule_numbers(given)
    if (data is None) == (store is None):
        raise click.UsageError("give --data, a folder of days, or --store, a platform's data folder")
    if store is not None:
        if config is not None or scenarios or between is None:
            raise click.UsageError("--store wants --from and --to, and neither --config nor --scenario")
        _own_past(store, between, numbers, policies, jobs)
        return
    assert data is not None, "one of the two is given"
    _needs_library(forecaster)
    bar = Bar()
    results: list[ScenarioResult] = []
    try:
        own = configured(config)
        settings = settings_of(own) if own is not None else Settings()
        folder = RecordedFolder(data)
        options = ScenarioOptions(
            settings=msgspec.structs.replace(settings, forecaster=forecaster or settings.forecaster),
            fleet=None if own is None else own.fleet,
            limit_spans=limit,
            between=between,
            ablate=not no_ablations and bool(scenarios),
            policies=policies or None,
            numbers=numbers,
            jobs=jobs,
            noise=Noise(demand_noise, seed) if demand_noise else None,
        )
        usual = "days" if folder.manifest.days else "A"
        results += [run_scenario(data, name, options, bar) for name in scenarios or (usual,)]
    except (FolderError, ValueError, BrokenProcessPool) as error:
        raise click.ClickException(str(error)) from error
    finally:
        bar.clear()
    text = _report(folder, results)
    click.echo(text)
    if out is not None:
        write(out, results, text)
        click.echo(f"\nWritten to {out}: report.md, report.csv, report.html, report.json", err=True)


def _own_past(
    store: Path,
    between: tuple[datetime, datetime],
    numbers: Numbers | None,
    policies: Sequence[str],
    jobs: int,
) -> None:
    """What the platform did, and what each policy would have earned in the same days without inference."""
    try:
        with days_of_store(store, *between) as (folder, fleet, settings, past):
            options = ScenarioOptions(
                settings=settings,
                fleet=fleet,
                between=between,
                ablate=False,
                policies=policies or None,
                numbers=numbers or rule_numbers(USUAL_NUMBERS),
                jobs=jobs,
            )
            result = run_scenario(folder, "days", options)
    except (FolderError, ReplayError, ValueError, BrokenProcessPool) as error:
        raise click.ClickException(str(error)) from error
    click.echo(to_markdown(result))
    click.echo("\n".join(lines(past, {})))
    click.echo(
        "fees are taken at 3 % of the subsidy, rigs are modelled, inference is left out; the rules are not tuned"
    )


def _between(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime] | None:
    if start is not None and end is not None:
        return start, end
    if start is not None or end is not None:
        raise click.UsageError("give both --from and --to, or neither")
    return None


def _needs_library(forecaster: Forecasting | None) -> None:
    if forecaster == "learned":
        try:
            library()
        except MissingLibraryError as error:
            raise click.ClickException(str(error)) from error


def _report(folder: RecordedFolder, results: list[ScenarioResult]) -> str:
    words = [f"- {folder.assumptions[0]}"] if folder.manifest.invented else []
    return "\n".join([*(to_markdown(result) for result in results), "Assumed or invented:", "", *words, assumed()])


def rule_numbers(given: str) -> Numbers:
    try:
        fixed, worst, share, static, *band = (float(x) for x in given.split(","))
        if len(band) > 1:
            raise ValueError("too many")
    except ValueError:
        raise click.BadParameter(
            f"{given!r} is not four numbers or five; write 80,70,0.3,80,0.3: the fixed strike, the price and the "
            "share of worst-first, the static order's price, the dead band",
            param_hint="--set",
        ) from None
    return Numbers(fixed, (worst, share), static, band[0] if band else Numbers.band, tuned_on="none: given")


def write(out: Path, results: list[ScenarioResult], text: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figures = {result.scenario: to_figures(result) for result in results}
    (out / "report.md").write_text(text + "\n", encoding="utf-8")
    (out / "report.csv").write_text(to_csv(results), encoding="utf-8")
    (out / "report.html").write_text(page(results), encoding="utf-8")
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
