"""Flower ClientApps that behave and misbehave, for tests of the worker. None needs torch.

``data`` names one file, the *mark*: apps use it to know what happened before they were started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from banyan.node.learning.progress import Progress, report


def answer(message: Message, step: float = 1.0) -> Message:
    """B plus ``step``."""
    arrays = {
        name: Array(array.numpy() + step if "lora_B" in name else array.numpy())
        for name, array in message.content["arrays"].items()
    }
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"loss-after": step})})
    return Message(content, reply_to=message)


def app_of(before: Callable[[Path], None]) -> ClientApp:
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        before(Path(json.loads(str(context.node_config["data"]))[0]))
        return answer(message)

    return app


def wait(mark: Path) -> None:
    """Report progress until the mark is there."""
    while not mark.exists():
        report(Progress("train", 1, 2, 0.5))
        time.sleep(0.01)


def wait_deaf(mark: Path) -> None:
    """Report once, then hear nothing."""
    report(Progress("train", 1, 2, 0.5))
    time.sleep(1000)


def die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def crash(mark: Path) -> None:
    print("the last words", file=sys.stderr, flush=True)
    os._exit(7)


def fail(mark: Path) -> None:
    with mark.open("a") as file:
        file.write("x")
    raise RuntimeError("no such luck")


def chatter(mark: Path) -> None:
    """Write to standard output in every way there is."""
    print("x" * 100_000)
    sys.__stdout__.write("more\n")
    os.write(1, b"\xff" * 10_000)
    subprocess.run([sys.executable, "-c", "print('from a child' * 1000)"], check=True)
    assert sys.stdin.read() == ""


def garble(mark: Path) -> None:
    """Write into every pipe that is open."""
    for descriptor in range(3, 30):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue


def hold(mark: Path) -> None:
    """Report once, then keep the interpreter to itself for minutes."""
    report(Progress("train", 1, 2, 0.5))
    pow(3, 10**9)


step = app_of(lambda mark: None)
waiting = app_of(wait)
deaf = app_of(wait_deaf)
dying_once = app_of(die_once)
crashing = app_of(crash)
failing = app_of(fail)
chattering = app_of(chatter)
garbling = app_of(garble)
holding = app_of(hold)
