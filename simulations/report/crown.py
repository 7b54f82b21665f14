"""Where the branches and leaves of a network's tree lie when it is drawn as a crown, from a flat branch of a few
devices to ten thousand devices in three levels: many devices share a leaf, many branches are folded into their
parent."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from banyan.simulations.record import NodeFigures, RunRecord
from banyan.simulations.report.curves import level

__all__ = ["CROWN", "RING", "SPAN", "STATES", "Crown", "Vertex", "grow", "state_of"]

#: What a leaf can be, in the order in which leaves lie, and how it is called.
STATES: Final = {
    "honest": "honest",
    "honest-out": "honest, shut out by somebody",
    "attacker": "attacker",
    "attacker-out": "attacker, shut out",
}

MOST_LEAVES: Final = 800
MOST_BRANCHES: Final = 150
STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)

#: The angle of the whole crown (radians), its radius, and the room for one leaf, in the drawing's units.
SPAN: Final = math.radians(196)
CROWN: Final = 292.0
RING: Final = 11.5
#: Between two branches, in columns of leaves.
BETWEEN: Final = 0.7


@dataclass(slots=True)
class Vertex:
    """A branch as it is drawn.

    ``states`` counts its own devices, ``leaves`` shows them: (state, devices that the leaf stands for). ``folded``
    counts branches drawn as part of this one. ``angle`` is where its limb ends, ``middle`` where its own leaves
    lie, in ``columns`` columns.
    """

    path: str
    states: Counter[str] = field(default_factory=Counter)
    children: list[Vertex] = field(default_factory=list)
    folded: int = 0
    leaves: list[tuple[str, int]] = field(default_factory=list)
    columns: int = 1
    angle: float = 0.0
    middle: float = 0.0

    def walk(self) -> Iterator[Vertex]:
        """This branch and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def devices(self) -> int:
        """Below and at this branch."""
        return sum(sum(vertex.states.values()) for vertex in self.walk())


@dataclass(frozen=True, slots=True)
class Crown:
    """A placed tree: ``slots`` are the branches at its rim from left to right, whose leaves lie in ``rows`` rings with
    the angle ``gap`` between columns; a full leaf stands for ``devices_a_leaf``."""

    root: Vertex
    slots: list[Vertex]
    rows: int
    gap: float
    devices_a_leaf: int

    @property
    def leaves(self) -> int:
        return sum(len(slot.leaves) for slot in self.slots)

    @property
    def folded(self) -> int:
        return sum(vertex.folded for vertex in self.root.walk())


def state_of(node: NodeFigures) -> str:
    """One of :data:`STATES`."""
    return ("honest" if node.attack is None else "attacker") + ("-out" if node.quarantined_by else "")


def grow(record: RunRecord) -> Crown:
    """Place every branch and device of ``record``."""
    root = _tree(record)
    step = next((n for n in STEPS if sum(_leaf_count(v, n) for v in root.walk()) <= MOST_LEAVES), STEPS[-1])
    for vertex in root.walk():
        vertex.leaves = _leaves(vertex, step)
    slots = list(_slots(root))
    rows, gap = _packing(slots)
    at = math.pi / 2 + _width(slots) * gap / 2
    for slot in slots:
        slot.middle = at - slot.columns * gap / 2
        at -= (slot.columns + BETWEEN) * gap
    _settle(root)
    return Crown(root, slots, rows, gap, step)


def _tree(record: RunRecord) -> Vertex:
    """All branches and those above them; the deepest are folded into their parents until few enough are left."""
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for node in record.nodes:
        states[node.branch][state_of(node)] += 1
    paths = {"/"}
    for branch in record.branches:
        while branch != "/":
            paths.add(branch)
            branch = _parent(branch)
    folded: Counter[str] = Counter()
    while len(paths) > MOST_BRANCHES:
        deepest = max(map(level, paths))
        for path in [path for path in paths if level(path) == deepest]:
            paths.discard(path)
            states[_parent(path)].update(states.pop(path, Counter()))
            folded[_parent(path)] += 1 + folded.pop(path, 0)
    vertices = {path: Vertex(path, states[path], folded=folded[path]) for path in sorted(paths)}
    for path, vertex in vertices.items():
        if path != "/":
            vertices[_parent(path)].children.append(vertex)
    return vertices["/"]


def _parent(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def _leaf_count(vertex: Vertex, step: int) -> int:
    return sum(-(-count // step) for count in vertex.states.values())


def _leaves(vertex: Vertex, step: int) -> list[tuple[str, int]]:
    leaves = []
    for state in STATES:
        whole, rest = divmod(vertex.states[state], step)
        leaves += [(state, step)] * whole + ([(state, rest)] if rest else [])
    return leaves


def _slots(vertex: Vertex) -> Iterator[Vertex]:
    """The branches with leaves of their own, from left to right; a branch's own lie amid its children's."""
    middle = len(vertex.children) // 2
    for child in vertex.children[:middle]:
        yield from _slots(child)
    if vertex.leaves or not vertex.children:
        yield vertex
    for child in vertex.children[middle:]:
        yield from _slots(child)


def _packing(slots: list[Vertex]) -> tuple[int, float]:
    """How many rings of leaves, and the angle between columns: as few rings as leave room for each leaf."""
    most = max(len(slot.leaves) for slot in slots)
    for rows in range(1, max(most, 1) + 1):
        for slot in slots:
            slot.columns = max(1, -(-len(slot.leaves) // rows))
        gap = SPAN / _width(slots)
        if gap * CROWN >= RING:
            break
    return rows, min(gap, math.radians(16))


def _width(slots: list[Vertex]) -> float:
    """Of all slots side by side, in columns."""
    return sum(slot.columns for slot in slots) + BETWEEN * (len(slots) - 1)


def _settle(vertex: Vertex) -> list[float]:
    """A limb ends below the middle of what hangs from it."""
    hanging = [angle for child in vertex.children for angle in _settle(child)]
    if vertex.leaves or not vertex.children:
        hanging.append(vertex.middle)
    vertex.angle = (min(hanging) + max(hanging)) / 2
    return hanging
