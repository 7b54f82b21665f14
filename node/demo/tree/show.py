"""The demo of the tree from curtain to verdict."""

from __future__ import annotations

import os
import time

from rich.console import Console

from banyan.node.demo.show import INTERVAL, conclude
from banyan.node.demo.summary import Summary
from banyan.node.demo.tree.gauge import TreeGauge
from banyan.node.demo.tree.history import History
from banyan.node.demo.tree.plan import TreePlan
from banyan.node.demo.tree.screen import TreeScreen
from banyan.node.demo.tree.stage import TreeStage
from banyan.node.demo.tree.summary import order_rest, summarise
from banyan.node.demo.tree.watch import TreeWatcher
from banyan.node.store import BlobStore


def show(plan: TreePlan, *, json_output: bool = False) -> int:
    """Run ``plan``; 0 if the verdict holds. Raises ``BanyanError`` where it does not, or the network cannot go on."""
    from banyan.node.demo.tree.charts import save_loss_png
    from banyan.node.demo.tree.page import page

    console = Console(stderr=json_output)
    began, load = time.monotonic(), os.getloadavg()[0]
    with TreeStage(plan) as stage, TreeScreen(console, quiet=json_output) as screen:
        stage.say = screen.say
        stage.set()
        summary = _learn(stage, screen, began) | {"load_at_start": round(load, 1)}
    (plan.out / "index.html").write_text(page(summary), "utf-8")
    save_loss_png(summary, plan.out / "loss.png")
    return conclude(plan.out, summary, json_output)


def _learn(stage: TreeStage, screen: TreeScreen, began: float) -> Summary:
    assert stage.charter is not None
    gauge = TreeGauge(stage.measure())
    homes = [actor.home for actor in stage.actors]
    history = History(stage.charter, homes, BlobStore(stage.kept))
    watcher = TreeWatcher(stage, history, gauge)

    def look() -> None:
        watcher.look()
        screen.grow(stage, watcher, gauge)
        time.sleep(INTERVAL)

    while not watcher.risen:
        look()
    screen.say("what the sub-domains share has risen; now newcomers come")
    stage.welcome()
    while not watcher.finished:
        look()
    screen.say("the network has finished; its nodes end, the measuring goes on")
    watcher.look()
    stage.end()
    order_rest(stage, watcher, history, gauge)
    watcher.scene.news.clear()
    while gauge.done < gauge.total:
        gauge.look()
        screen.grow(stage, watcher, gauge)
        time.sleep(INTERVAL)
    return summarise(stage, watcher, history, gauge, time.monotonic() - began)
