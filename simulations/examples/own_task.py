"""Bring your own task: devices fit a line to points of their own, and their branch a line to all.

    python -m banyan.simulations.examples.own_task

A task is a class with five methods; what it learns is one float32 vector. Everything must be a pure function of the
arguments and a seed, so that a run can be repeated byte for byte.
"""

from __future__ import annotations

import numpy as np

from banyan.simulations.tasks import NoSuchPoison, Poison, Score, Vector, spec_of
from banyan.simulations.tasks.task import seed_of
from banyan.simulations.world import World


class Line:
    """Least squares: y = a x + b, with noise and a stretch of x of each device's own."""

    dimension = 2
    spec = spec_of(2)
    truth = (2.0, -1.0)

    def place(self, device: str, branch: str) -> None:
        """Every branch has the same line."""

    def poisoned(self, poison: Poison) -> Line:
        raise NoSuchPoison("A line has no labels to flip", "Use an attack on updates")

    def train(self, device: str, start: Vector, height: int) -> Vector:
        x, y = self._points(device)
        model = start.astype(np.float64)
        for _ in range(20):
            error = model[0] * x + model[1] - y
            model = model - 0.1 * np.array([(error * x).mean(), error.mean()])
        return model.astype(np.float32)

    def loss(self, device: str, model: Vector) -> float:
        x, y = self._points(device)
        return float(((model[0] * x + model[1] - y) ** 2).mean())

    def score(self, where: str, model: Vector) -> Score:
        return Score(float(np.sum((model - np.array(self.truth)) ** 2)))

    def _points(self, device: str) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed_of("line", device))
        x = rng.uniform(-1, 1, 30) + rng.uniform(-1, 1)
        return x, self.truth[0] * x + self.truth[1] + 0.3 * rng.standard_normal(30)


def main() -> None:
    world = World(1, {"/": 6}, task=Line(), fast_signatures=True)
    world.start()
    world.run(until=lambda: world.agreed("/", 8) and all(each.has_model("/") for each in world.live()))
    slope, offset = next(iter(world.devices.values())).model("/")
    print(f"y = {slope:.2f} x {offset:+.2f}")


if __name__ == "__main__":
    main()
