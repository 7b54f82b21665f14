"""``banyan simulate``: run a scenario from one seed and look at it, or many seeds in search of a violation."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from banyan.security.errors import BanyanError
from banyan.simulations.replay import Lines, replay_command
from banyan.simulations.run import run_scenario
from banyan.simulations.scenario import Arm, Scenario, ScenarioError, load, shipped
from banyan.simulations.split import processes_for, run_in_processes

if TYPE_CHECKING:
    from banyan.simulations.record import RunRecord

__all__ = ["app", "run", "simulate"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EXAMPLES = """[bold]Examples[/bold]

  banyan simulate                                  twenty devices, four of them liars

  banyan simulate --list                           every scenario

  banyan simulate churn --seed 7 --set rounds=30

  banyan simulate flat-20 --set policies.round.rule=median --set attackers.0.attack=alie

  banyan simulate partition-heals --seeds 200      search for a seed that breaks an invariant

  banyan simulate churn --seed 41 --trace          show the steps around the first violation

  banyan simulate scale-10k --processes 2          one run on two cores, and the very trace of one
"""


def run(arguments: list[str]) -> int:
    """Parse ``arguments`` and simulate; the exit code."""
    return int(app(arguments, prog_name="banyan simulate", standalone_mode=False) or 0)


@app.command(epilog=EXAMPLES)
def simulate(
    scenario: Annotated[str, typer.Argument(help="A shipped scenario, or a .toml file.")] = "flat-20",
    seed: Annotated[int, typer.Option(min=0, help="The only source of chance: one seed, one trace.")] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1_000_000, help="Run so many seeds from --seed on, and name the smallest that fails."
        ),
    ] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to run with this seed: {', '.join(get_args(Arm))}.", show_default="the scenario's"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes.", show_default="banyan-simulation/NAME")
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show every step around the first violation.")
    ] = False,
    around: Annotated[
        float | None, typer.Option(min=0, help="With --trace: show the steps around this virtual second.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Share the devices of one run out among so many processes.",
            show_default="1, and one a core above 1,000 devices",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="What runs many seeds: local or ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Processes or actors.", show_default="one a core")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, such as auto.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> int:
    """Run the very core of the daemon on a virtual network with a virtual clock, and watch it for violations.

    Exit code 1: an invariant broke, or the run did not reach its goal.
    """
    console = Console(stderr=json_)
    if list_:
        _show_list(console, json_)
        return 0
    chosen = load(scenario).changed(_settings(set_ or []))
    changes = list(set_ or [])
    if processes is not None and (seeds > 1 or trace):
        raise BanyanError(
            "--processes shares out the devices of one run", "For many seeds at once there is --workers"
        )
    if seeds > 1:
        return _search(scenario, changes, seed, seeds, _engine(engine), workers, address, out, console, json_)
    if trace:
        return _trace(scenario, chosen, changes, seed, around, console)
    return _run_one(scenario, chosen, changes, seed, _arms(arm, chosen), processes, out, console, json_)


# ------------------------------------------------------------------------------------ one seed


def _run_one(
    name: str,
    scenario: Scenario,
    changes: list[str],
    seed: int,
    arms: Sequence[Arm],
    processes: int | None,
    out: Path | None,
    console: Console,
    json_: bool,
) -> int:
    from banyan.simulations.report import write

    records = _run_arms(scenario, seed, arms, console, processes)
    folder = out or Path("banyan-simulation") / scenario.name
    pages = write(records, folder, replay_command(name, changes, seed))
    main = records[0]
    if json_:
        print(json.dumps([record.as_dict() for record in records]))
    else:
        _show_outcome(records, name, changes, console)
        console.print(f"report      {pages[0]}", highlight=False)
    return 0 if main.finished and not main.violations else 1


def _run_arms(
    scenario: Scenario, seed: int, arms: Sequence[Arm], console: Console, processes: int | None = 1
) -> list[RunRecord]:
    shares = {arm: processes_for(scenario.for_arm(arm), processes) for arm in arms}
    columns = (TextColumn("{task.description:12}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[standing]}", style="dim"))  # fmt: skip
    records = []
    with Progress(*columns, console=console, transient=True) as progress:
        for arm in arms:
            bar = progress.add_task(arm, total=1.0, standing="")

            def tell(done: float, standing: str, bar: Any = bar) -> None:
                progress.update(bar, completed=done, standing=standing)

            records.append(run_in_processes(scenario, seed, arm, processes=shares[arm], progress=tell))
    return records


def _show_outcome(records: Sequence[RunRecord], name: str, changes: list[str], console: Console) -> None:
    main = records[0]
    honest = [node for node in main.nodes if node.attack is None]
    console.print(f"[bold]{main.scenario}[/bold]  {main.about}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("arm", "branch", "height", "loss, first → last", "accuracy", "alone", "wall s"):
        table.add_column(heading, justify="left" if heading in ("arm", "branch") else "right")
    for record in records:
        for path in record.branches:
            scores = [score for score in record.scores if score.branch == path]
            if scores:
                first, last = scores[0], scores[-1]
                accuracy = f"{last.accuracy:.1%}" if last.accuracy is not None else "–"
                alone = f"{record.alone[path]:.4g}" if path in record.alone else "–"
                table.add_row(
                    record.arm, path, str(last.height), f"{first.loss:.4g} → {last.loss:.4g}", accuracy, alone,
                    f"{record.seconds:.1f}",
                )  # fmt: skip
    console.print(table)
    rounds = max(1, max((release.height for release in main.releases), default=main.settings["rounds"]))
    sent = sum(node.messages for node in honest) / len(honest) / rounds
    size = sum(node.bytes for node in honest) / len(honest) / rounds / 1e3
    console.print(
        f"traffic     {sent:.0f} messages and {size:.0f} kB per honest device and round", highlight=False
    )
    console.print(
        f"virtual     {main.virtual_ms / 1000:,.0f} s, {main.events:,} events, signatures {main.signatures}"
    )
    console.print(f"trace       {main.trace}", highlight=False)
    if main.violations:
        console.print(f"[red]{len(main.violations)} violations[/red]; the first:", highlight=False)
        for violation in main.violations[:5]:
            said = f"{violation.invariant}  {violation.where}: {violation.what}"
            console.print(f"  {violation.time / 1000:8.1f} s  {said}", highlight=False, markup=False)
        console.print(
            f"show it     {replay_command(name, changes, main.seed)} --trace", highlight=False, markup=False
        )
    else:
        console.print(f"invariants  all held{'' if main.finished else ', but the goal was not reached'}")


# ------------------------------------------------------------------------------------ around a violation


def _trace(
    name: str, scenario: Scenario, changes: list[str], seed: int, around: float | None, console: Console
) -> int:
    """Run once to find the first violation, and again to show what led to it."""
    record = None
    if around is None:
        record = _run_arms(scenario, seed, ["as-is"], console)[0]
        if not record.violations:
            console.print(
                "Every invariant held, so there is nothing to show. Choose a time: --around SECONDS"
            )
            return 0
        first = record.violations[0]
        around = first.time / 1000
        console.print(f"{first.time / 1000:.1f} s  {first.invariant}  {first.where}: {first.what}", highlight=False,
                      markup=False)  # fmt: skip
    lines = Lines(around, lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True))
    run_scenario(scenario, seed, watcher=lines, progress=lines.mind)
    return 1 if record is not None and record.violations else 0


# ------------------------------------------------------------------------------------ many seeds


def _search(
    name: str,
    changes: list[str],
    seed: int,
    seeds: int,
    engine: Literal["local", "ray"],
    workers: int | None,
    address: str | None,
    out: Path | None,
    console: Console,
    json_: bool,
) -> int:
    from banyan.simulations.engines import open_engine
    from banyan.simulations.engines.screen import shown
    from banyan.simulations.engines.sweep import Sweep, grid
    from banyan.simulations.engines.trial import TRIAL

    jobs = grid(scenario=[name], seed=range(seed, seed + seeds), settings=[_settings(changes)])
    sweep = Sweep(jobs, TRIAL, out)
    events = rounds = 0
    with open_engine(engine, workers=workers, address=address) as machine:
        for finished in shown(sweep, machine, console):
            if finished.result is not None:
                events += finished.result["events"]
                rounds += len(finished.result["releases"])
    worst = sweep.smallest
    found = {
        "scenario": name,
        "seeds": seeds,
        "failed": sweep.failures,
        "events": events,
        "releases": rounds,
        "smallest": None if worst is None else worst.job.arguments["seed"],
    }
    if json_:
        print(json.dumps(found))
    elif worst is None:
        console.print(
            f"{seeds:,} seeds of {name}: every invariant held, {rounds:,} releases, {events:,} events"
        )
    else:
        failing = worst.job.arguments["seed"]
        console.print(f"{sweep.failures:,} of {seeds:,} seeds failed; the smallest is {failing}")
        reason = worst.error or next(
            (f"{v['invariant']}  {v['where']}: {v['what']}" for v in worst.result["violations"]),
            "it did not reach its goal",
        )
        console.print(f"  {reason}", highlight=False, markup=False)
        console.print(
            f"show it     {replay_command(name, changes, failing)} --trace", highlight=False, markup=False
        )
    return 0 if worst is None else 1


# ------------------------------------------------------------------------------------ what was asked


def _settings(changes: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` with values as TOML has them; a bare word is text."""
    settings = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ScenarioError(f"--set takes KEY=VALUE, not {change!r}", "Such as --set rounds=20")
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    return settings


def _arms(given: list[str] | None, scenario: Scenario) -> list[Arm]:
    if not given:
        return list(scenario.arms)
    known = get_args(Arm)
    for arm in given:
        if arm not in known:
            raise BanyanError(f"There is no arm {arm!r}", f"Choose from {', '.join(known)}")
    return [arm for arm in known if arm in given]


def _engine(name: str) -> Literal["local", "ray"]:
    match name:
        case "local" | "ray":
            return name
    raise BanyanError(f"There is no engine {name!r}", "Choose local or ray")


def _show_list(console: Console, json_: bool) -> None:
    scenarios = [load(name) for name in shipped()]
    if json_:
        print(json.dumps([{"name": s.name, "about": s.about, "devices": s.devices} for s in scenarios]))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for scenario in scenarios:
        table.add_row(scenario.name, f"{scenario.devices:,} devices", scenario.about)
    console.print(table)
