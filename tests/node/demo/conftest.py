"""A summary as the demo writes it, and small data in a tree."""

from __future__ import annotations

import json

import pytest

NODES = [f"12D3KooW{letter * 44}" for letter in "ABCDEF"]


@pytest.fixture
def summary():
    """Five honest nodes and a sign-flipper, two rounds; everything as it should be."""
    honest, attacker = NODES[:5], NODES[5]

    def round_(height, loss):
        return {
            "branch": "/garden/vegetables",
            "height": height,
            "release": f"{height}" * 64,
            "leader": honest[height],
            "cosigners": honest[:4],
            "used": honest,
            "left_out": [{"author": attacker, "reason": "outvoted"}],
            "weights": {**dict.fromkeys(honest, 0.2), attacker: 0.0},
            "loss": loss,
            "recomputed_within": 0.0,
            "signatures_checked": 6,
        }

    def node(number, node_id):
        is_honest = node_id != attacker
        return {
            "id": node_id,
            "role": "honest" if is_honest else "attacker",
            "branch": "/garden/vegetables",
            "loss_before": 5.0,
            "loss_after": 3.5 if is_honest else None,
            "loss_local_only": 4.0 + number / 10 if is_honest else None,
            "bytes_sent": 1_000_000 * number,
            "bytes_received": 2_000_000,
            "name": f"node-{number + 1}" if is_honest else "attacker-1",
            "owners": [f"owner_{number}", "<b>&"],
            "training_rows": 18,
        }

    return {
        "network": "ab" * 32,
        "branches": ["/garden/vegetables"],
        "rounds": [round_(1, 4.0), round_(2, 3.5)],
        "nodes": [node(number, node_id) for number, node_id in enumerate(NODES)],
        "attack": "sign-flip",
        "attacker_influence": 0.0,
        "undefended_loss_after": 6.5,
        "wall_seconds": 90.0,
        "attacker_displacement": 0.0,
        "attacker_true_updates_share": 0.0,
        "quarantined": {},
        "curves": {
            "together": [5.0, 4.0, 3.5],
            "undefended": [5.0, 5.8, 6.5],
            "alone": {node_id: [5.0, 4.2, 4.0 + n / 10] for n, node_id in enumerate(honest)},
        },
        "base": "embedded",
        "data": "garden/vegetables.jsonl",
        "held_out_rows": 20,
        "held_out": "rows that nobody trained on",
        "rule": "multi-krum",
        "f": 1,
        "settings": {
            "rounds": 2,
            "steps": 12,
            "batch": 8,
            "learning_rate": 0.004,
            "rank": 16,
            "scale": 2.0,
            "codec": "int8",
            "clip": 3.0,
            "attack_strength": 6.0,
        },
        "seed": 0,
        "machine": "2 cores, 24 GiB",
        "date": "2026-11-22",
        "verdict": [{"holds": True, "sentence": "It learned."}],
    }


@pytest.fixture
def tree(tmp_path):
    """``tree(leaf={owner: (training, held out, pretrain)})``: a folder of JSONL leaves with so many rows of each."""

    def make(**leaves):
        root = tmp_path / "medical"
        root.mkdir(exist_ok=True)
        for leaf, owners in leaves.items():
            lines = []
            for owner, counts in owners.items():
                for split, count in zip(("train", "test", "pretrain"), counts, strict=True):
                    for number in range(count):
                        row = {"prompt": f"{owner} {split} {number}", "response": "yes", "client": owner}
                        lines.append(json.dumps({**row, "split": split}) + "\n")
            (root / f"{leaf}.jsonl").write_text("".join(lines))
        return root

    return make
