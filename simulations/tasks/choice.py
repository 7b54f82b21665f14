"""A task by its name, as scenarios and command lines give it."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Final

from banyan.security.errors import BanyanError
from banyan.simulations.tasks.task import Task

__all__ = ["TASKS", "make_task"]

TASKS: Final = {
    "quadratic": "banyan.simulations.tasks.quadratic:Quadratic",
    "digits": "banyan.simulations.tasks.digits:Digits",
    "language": "banyan.simulations.tasks.language:Language",
}
"""Where each task stands: what one needs (scikit-learn, torch) is loaded with it alone."""


def make_task(name: str, seed: int, options: Mapping[str, Any]) -> Task:
    """The task called ``name``, or a class of one's own as ``module:class``, with its ``options``.

    Raises:
        BanyanError: there is no such task or option, or what it needs is not installed.
    """
    place = TASKS.get(name, name)
    module, colon, kind = place.partition(":")
    if not colon:
        raise BanyanError(f"There is no task {name!r}", f"Choose one of {', '.join(TASKS)}, or module:class")
    try:
        made = getattr(importlib.import_module(module), kind)
    except ImportError as error:
        raise BanyanError(
            f"The task {name} cannot be loaded: {error}", "Install what it names and run it again"
        ) from None
    except AttributeError:
        raise BanyanError(f"{module} has no class {kind}", "Name it as module:class") from None
    known = inspect.signature(made).parameters
    for option in options:
        if option not in known:
            nearest = difflib.get_close_matches(option, known, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise BanyanError(f"The task {name} has no option {option!r}{hint}", f"It has {', '.join(known)}")
    task: Task = made(**{**options, "seed": seed} if "seed" in known else options)
    return task
