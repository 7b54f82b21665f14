"""The two runs that did not happen, with a school without torch."""

from types import SimpleNamespace

import numpy as np
import pytest

from banyan.node.demo.measure import Counterfactuals, Pupil, Task, forgers
from banyan.security.identity import Identity
from banyan.security.model import AdapterSpec, TensorSpec

ROUNDS = 3
SPEC = AdapterSpec(2, 1.0, 0, bytes(32), 10, (TensorSpec("layer", 4, 4),))
CHARTER = SimpleNamespace(adapter=SPEC, round=SimpleNamespace(codec="float32"), network_id=bytes(32))


class School:
    """Everybody has a corner to go to; the loss is the distance from the middle of the honest ones'."""

    def __init__(self, corners, honest):
        self.corners = corners
        self.middle = np.mean([corners[name] for name in honest], axis=0)
        self.calls = 0

    def train(self, pupil, start, height):
        self.calls += 1
        return (start + 0.5 * (self.corners[pupil] - start)).astype(np.float32)

    def loss(self, vector):
        return float(np.linalg.norm(vector - self.middle))


@pytest.fixture
def pupils(tmp_path):
    made = [Pupil(f"node-{n}", f"id-{n}", "", "", True) for n in range(4)]
    Identity.generate().save(tmp_path / "identity.pem")
    return (*made, Pupil("attacker-1", "id-x", "", str(tmp_path), False))


def run(pupils, attack):
    corners = {
        p.name: np.eye(len(pupils), SPEC.dimension, dtype=np.float32)[n] + 1 for n, p in enumerate(pupils)
    }
    school = School(corners, [p.name for p in pupils if p.honest])
    task = Task("", "", "", "/x", "", ROUNDS, attack, 0, 4.8, {}, tuple(pupils))
    runs = Counterfactuals(task, CHARTER, school, forgers(task, CHARTER))
    found = list(runs.run())
    undefended = [each["loss"] for each in found if each["kind"] == "undefended"]
    alone = [each["loss"] for each in found if each["kind"] == "alone" and each["name"] == "node-0"]
    assert school.calls == runs.trainings or attack == "nan"
    return found[0]["loss"], undefended, alone


def test_the_mean_of_honest_nodes_comes_to_the_middle_and_nobody_does_alone(pupils):
    start, undefended, alone = run(pupils[:4], "sign-flip")
    assert len(undefended) == len(alone) == ROUNDS
    assert undefended[-1] == pytest.approx(start / 2**ROUNDS, rel=1e-3)
    assert alone[-1] > undefended[-1]


def test_a_sign_flip_drives_the_plain_mean_away(pupils):
    start, undefended, _ = run(pupils, "sign-flip")
    assert undefended[-1] > start


def test_not_a_number_stays_not_a_number(pupils):
    _, undefended, alone = run(pupils, "nan")
    assert all(np.isnan(undefended))
    assert np.isfinite(alone).all()


def test_a_lying_leader_turns_everything_round(pupils):
    start, undefended, _ = run(pupils, "lying-leader")
    assert start < undefended[0] < undefended[1]


@pytest.mark.parametrize("attack", ["noise", "oversize", "replay", "equivocate"])
def test_every_other_attack_has_its_undefended_run(pupils, attack):
    _, undefended, _ = run(pupils, attack)
    assert np.isfinite(undefended).all()


def test_the_task_travels_as_json(pupils, tmp_path):
    task = Task("c", "b", "m", "/x", "h", 2, "noise", 7, 0.0, {"steps": 3}, tuple(pupils))
    task.write(tmp_path / "task.json")
    assert Task.read(tmp_path / "task.json") == task
