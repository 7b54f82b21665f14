"""The demo from curtain to verdict."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from banyan.node.demo.audit import Auditor
from banyan.node.demo.gauge import Gauge
from banyan.node.demo.plan import CannotDemo, Plan
from banyan.node.demo.screen import Screen
from banyan.node.demo.stage import Stage
from banyan.node.demo.summary import Check, Summary, summarise
from banyan.node.demo.watch import Watcher

#: Seconds between two looks at the network.
INTERVAL: Final = 0.5


def show(plan: Plan, *, json_output: bool = False) -> int:
    """Run ``plan``; 0 if the verdict holds, else 1. Raises ``BanyanError`` where the network could not go on."""
    from banyan.node.demo.charts import save_loss_png
    from banyan.node.demo.page import write_page

    console = Console(stderr=json_output)
    began, load = time.monotonic(), os.getloadavg()[0]
    with Stage(plan) as stage, Screen(console, quiet=json_output) as screen:
        stage.say = screen.say
        stage.set()
        summary = _learn(stage, screen, began) | {"load_at_start": round(load, 1)}
    save_loss_png(summary, plan.out / "loss.png")
    write_page(summary, plan.out / "index.html")
    return conclude(plan.out, summary, json_output)


def _learn(stage: Stage, screen: Screen, began: float) -> Summary:
    plan = stage.plan
    assert stage.charter is not None
    gauge = Gauge(stage.measure(), plan.rounds, plan.honest)
    attackers = {actor.node for actor in stage.actors if not actor.honest}
    auditor = Auditor(stage.charter, plan.leaf.branch, [actor.home for actor in stage.honest], attackers)
    watcher = Watcher(stage, auditor, gauge)
    while not watcher.finished:
        screen.show(watcher.look(), gauge)
        gauge.look()
        time.sleep(INTERVAL)
    scene = watcher.look()
    screen.show(scene, gauge)
    screen.say("the network has finished; its nodes end, the comparison goes on")
    stage.end()
    gauge.finish()
    scene.news.clear()
    while not gauge.complete:
        gauge.look()
        screen.show(scene, gauge)
        time.sleep(INTERVAL)
    return summarise(stage, scene, gauge, time.monotonic() - began)


def conclude(out: Path, summary: Summary, json_output: bool) -> int:
    """Write ``summary.json`` and say the verdict; 0 if it holds. Raises :class:`CannotDemo` if not."""
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    checks = [Check(**each) for each in summary["verdict"]]
    if json_output:
        print(json.dumps(summary))
    else:
        for check in checks:
            print(f"{'✓' if check.holds else '✗'} {check.sentence}")
        print(f"In {summary['wall_seconds']:.0f} s. See {out / 'index.html'}")
    if failed := " ".join(check.sentence for check in checks if not check.holds):
        raise CannotDemo(f"The demo does not show what it should. {failed}", f"Look at {out / 'index.html'}")
    return 0
