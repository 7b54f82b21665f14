"""Records of runs that never ran, as real ones look: losses fall, attackers are caught, links are cut."""

from __future__ import annotations

import math
import random

import pytest

from banyan.simulations.record import NodeFigures, ReleaseFigures, RunRecord, ScoreFigures, ViolationFigures

FLAT = {"/": 20}
TREE = {"/": 6, **{f"/{a}": 14 for a in ("en", "de", "es")}} | {
    f"/{a}/{b}": 28 for a in ("en", "de", "es") for b in ("medical", "law", "garden")
}
LARGE = {"/": 10, **{f"/b{a}": 9 for a in range(10)}} | {
    f"/b{a}/c{b}": 99 for a in range(10) for b in range(10)
}
KINDS = ("sign-flip", "equivocate", "nan")


def record_of(
    devices: dict[str, int] = FLAT,
    *,
    arm: str = "as-is",
    rounds: int = 10,
    attackers: float = 0.2,
    seed: int = 7,
    accuracy: bool = False,
    faults: int = 0,
    violations: tuple[ViolationFigures, ...] = (),
    scenario: str = "flat-20",
) -> RunRecord:
    """A run of ``arm``; the first ``attackers`` of each branch, a share, attack."""
    rng = random.Random(f"{seed}|{arm}")
    nodes, releases, scores = [], [], []
    honest_arm = arm == "no-attack"
    for branch, count in devices.items():
        bad = round(count * attackers)
        members = []
        for n in range(count):
            attack = KINDS[n % 3] if n < bad and not honest_arm else None
            members.append((f"{branch}#{n}", attack))
            sent = int(rng.lognormvariate(9 + (attack is not None), 0.25)) * rounds
            nodes.append(
                NodeFigures(
                    name=f"{branch}#{n}",
                    node=f"12D3KooW{seed:04}{branch.strip('/')}{n:05}",
                    branch=branch,
                    attack=attack,
                    messages=int(rng.gauss(40, 4)) * rounds,
                    bytes=sent,
                    blob_bytes=sent // 3,
                    held=100_000 + rng.randrange(10_000),
                    quarantined_by=count - bad if attack == "equivocate" else 0,
                    crashes=rng.randrange(2) if faults else 0,
                )
            )
        time = 2_000
        scores.append(ScoreFigures(branch, 0, time, 2.4, 2.6, 0.1 if accuracy else None))
        for height in range(1, rounds + 1):
            latency = int(rng.lognormvariate(8.2, 0.3))
            time += latency
            out = [
                (name, {"sign-flip": "outvoted", "nan": "non-finite"}.get(attack, "quarantined"))
                for name, attack in members
                if attack is not None and arm == "as-is"
            ]
            out += [(name, "missing") for name, attack in members if attack is None and rng.random() < 0.03]
            gone = {name for name, _ in out}
            used = tuple(name for name, _ in members if name not in gone)
            leader = members[rng.randrange(count)][0]
            releases.append(ReleaseFigures(branch, height, time, latency, leader, used, tuple(out)))
            loss = 0.4 + 2 * math.exp(-height / 4) * rng.uniform(0.97, 1.03) + (0.03 if not honest_arm else 0)
            if arm == "plain-mean":
                loss = 2.4 + 0.8 * height**1.3
            right = max(0.05, min(0.97, 1 - loss / 2.7)) if accuracy else None
            scores.append(ScoreFigures(branch, height, time, loss, loss * 1.2, right))
    end = max(release.time for release in releases) + 5_000
    texts = ("cut: 4 devices on one side", "healed", "/#3 crashes", "/#3 is back", "/#19 joins")
    moments = sorted(rng.randrange(end) for _ in range(faults))
    return RunRecord(
        scenario=scenario,
        about="Twenty devices on one branch, a fifth of them attackers that collude.",
        arm=arm,
        seed=seed,
        settings={
            "devices": devices,
            "rule": "nnm+multi-krum",
            "f": 4,
            "link": {"latency": [5, 40], "loss": 0.02},
        },
        signatures="ed25519" if len(nodes) < 1_000 else "fake",
        trace=f"{rng.getrandbits(256):064x}",
        finished=True,
        goal=f"{rounds} releases of every branch",
        virtual_ms=end,
        seconds=12.34,
        events=40 * len(nodes) * rounds,
        nodes=tuple(nodes),
        releases=tuple(sorted(releases, key=lambda each: (each.time, each.branch))),
        scores=tuple(sorted(scores, key=lambda each: (each.time, each.branch))),
        violations=violations,
        faults=tuple((moment, rng.choice(texts)) for moment in moments),
        alone=dict.fromkeys(devices, 1.1) if arm == "as-is" else {},
    )


def arms_of(devices: dict[str, int] = FLAT, **chosen: object) -> list[RunRecord]:
    """The three arms of one scenario and seed."""
    return [record_of(devices, arm=arm, **chosen) for arm in ("as-is", "no-attack", "plain-mean")]  # type: ignore[arg-type]


@pytest.fixture(name="record_of", scope="session")
def record_builder():
    return record_of


@pytest.fixture(name="arms_of", scope="session")
def arms_builder():
    return arms_of


@pytest.fixture(scope="session")
def shapes():
    return {"flat": FLAT, "tree": TREE, "large": LARGE}
