"""``python -m benchmarks [NAME …]``: run the named benchmarks, or all, one after the other."""

from __future__ import annotations

import argparse
import runpy
import sys

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
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", choices=[[], *BENCHMARKS], help="which; all if none is named")
    chosen = parser.parse_args().name or list(BENCHMARKS)
    for name in chosen:
        module, what = BENCHMARKS[name]
        print(f"\n== {name}: {what}", flush=True)
        sys.argv = [module]
        runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
