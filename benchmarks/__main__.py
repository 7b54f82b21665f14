"""``python -m benchmarks [NAME …]``: run the named benchmarks, or all, one after the other.

``python -m benchmarks NAME --option …`` hands the options to that one. When all have run, exits with 1 if one failed.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from itertools import takewhile

BENCHMARKS = {
    "daemon": (
        "benchmarks.daemon_footprint",
        "memory, idle processor time and start of a daemon, against its limits",
    ),
    "clone": ("benchmarks.clone_from_peers", "a base model from two peers against one, uplinks the limit"),
    "training": ("benchmarks.training_overhead", "local training against a bare PEFT + PyTorch loop"),
    "continual": (
        "benchmarks.learning_continual",
        "three domains one after another: what each method forgets, and what it still learns",
    ),
    "distillation": (
        "benchmarks.distillation",
        "a small model learns from a big one on public text, and the other way, beside direct training",
    ),
    "serving": (
        "benchmarks.serving",
        "the model server beside a bare generate: one request, and eight at once",
    ),
    "learning": (
        "benchmarks.learning",
        "a tree of federations against devices alone, one federation of all, and one a leaf",
    ),
    "adapters": (
        "benchmarks.learning.adapters",
        "the network's adapter against LoRA at equal bytes, to convergence, and what a season brings",
    ),
    "clinician": (
        "benchmarks.clinician",
        "a clinician asks, clones, teaches, uses and shares a model: what everybody gains",
    ),
    "aggregation": ("benchmarks.aggregation", "every rule against ByzFL and Flower: time and memory"),
    "lifting": ("benchmarks.lifting", "when to lift: traffic against the loss of the branch above"),
    "simulation-proof": (
        "benchmarks.simulation_proof",
        "the rules under attack in published decentralised settings",
    ),
    "simulation-seeds": (
        "benchmarks.simulation_seeds",
        "a thousand seeds under crashes, cuts and attackers, every invariant watched",
    ),
    "simulation-flower": (
        "benchmarks.simulation_flower",
        "virtual-node-rounds a second beside Flower's simulation",
    ),
    "recommender": ("benchmarks.recommender", "first offers on written requests, and the time of an answer"),
    "assistant": (
        "benchmarks.assistant",
        "what the assistant asks on written requests, and a turn beside one recommendation",
    ),
    "catalog-memory": ("benchmarks.recommender.memory", "the memory formula against real processes"),
    "catalog-sync": ("benchmarks.recommender.sync", "a thousand cards from one daemon to another"),
    "simulation-scale": ("benchmarks.simulation_scale", "the core at 156, 975 and 10,000 nodes"),
}


def main() -> None:
    listing = "\n".join(f"  {name:18} {what}" for name, (_, what) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Run benchmarks:\n{listing}",
        epilog="Options after a single name are that benchmark's own: python -m benchmarks simulation-seeds --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="which; all if none is named")
    given = sys.argv[1:]
    named = [*takewhile(lambda argument: not argument.startswith("-"), given)]
    options = given[1:] if len(named) == 1 else []
    chosen = named if options else parser.parse_args(given).name or [*BENCHMARKS]
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose among {', '.join(BENCHMARKS)}")
    failed = [name for name in chosen if not _succeeds(name, options)]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


def _succeeds(name: str, options: list[str]) -> bool:
    """Run one benchmark; whether it kept its limits. Says why where it did not."""
    module, what = BENCHMARKS[name]
    print(f"\n== {name}: {what}", flush=True)
    sys.argv = [module, *options]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return not ended.code
    return True


if __name__ == "__main__":
    main()
