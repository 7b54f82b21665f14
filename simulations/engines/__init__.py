"""Many runs at once: a sweep of jobs, on the cores of this machine or on a Ray cluster.

Jobs and results travel pickled, in memory and between processes that we started ourselves. Nothing that came from a
peer or from a file is ever unpickled; what a sweep keeps on disk is JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from banyan.simulations.engines.job import Done, Job, Setup

if TYPE_CHECKING:
    from banyan.simulations.engines.job import Engine

__all__ = ["Done", "Job", "Setup", "open_engine"]


def open_engine(
    name: Literal["local", "ray"] = "local",
    *,
    workers: int | None = None,
    address: str | None = None,
    setup: Setup | None = None,
) -> Engine:
    """An engine to use in a ``with`` block.

    Args:
        name: ``local``: processes of this machine; ``ray``: actors of a Ray cluster.
        workers: how many; by default one for each core (of the cluster).
        address: of a running Ray cluster, such as ``auto``; None starts one on this machine.
        setup: what every worker does before its first job.

    Raises:
        BanyanError: Ray is not installed, or no cluster answers at ``address``.
    """
    if name == "local":
        from banyan.simulations.engines.local import LocalEngine

        return LocalEngine(workers, setup)
    from banyan.simulations.engines.ray import RayEngine

    return RayEngine(workers, setup, address)
