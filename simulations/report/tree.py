"""The network drawn as a tree: an inline ``<svg>`` in the page's colours."""

from __future__ import annotations

import math
from html import escape
from typing import Final

from banyan.simulations.record import RunRecord
from banyan.simulations.report.crown import CROWN, RING, SPAN, STATES, Crown, Vertex, state_of
from banyan.simulations.report.curves import level
from banyan.simulations.report.words import counted

__all__ = ["leaf", "tree_svg"]

WIDTH: Final = 860.0
TRUNK: Final = 84.0
#: With more leaves than this a branch's leaves share one twig; with more than the other they have no number.
MOST_TWIGS: Final = 320
MOST_NUMBERS: Final = 40

Point = tuple[float, float]


def tree_svg(crown: Crown, record: RunRecord) -> str:
    """``crown``, where the title of each leaf names the device of ``record`` that it stands for."""
    drawing = _Drawing(crown)
    for vertex in crown.root.walk():
        drawing.limbs(vertex)
    for slot in crown.slots:
        drawing.foliage(slot, _names(record, slot) if crown.devices_a_leaf == 1 and not slot.folded else [])
    return drawing.svg()


def leaf(state: str, at: Point, size: float, title: str = "") -> str:
    """The sign of a state, so that colour is not all that tells: attackers are diamonds, who is shut out is hollow
    and crossed."""
    x, y = at
    colour = "var(--bad)" if state.startswith("attacker") else "var(--good)"
    out = state.endswith("-out")
    look = f'fill="{colour}"'
    if out:
        look = f'fill="var(--card)" stroke="{colour}" stroke-width="{max(size / 4, 1.2):.1f}"'
    said = f"<title>{escape(title)}</title>" if title else ""
    if state.startswith("attacker"):
        s = f"{size * 1.2:.1f}"
        path = f"M {x:.1f} {y - size * 1.2:.1f} l {s} {s} l -{s} {s} l -{s} -{s} z"
        shape = f'<path d="{path}" {look}>{said}</path>'
    else:
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {look}>{said}</circle>'
    if out:
        c, d = size * 0.42, f"{size * 0.84:.1f}"
        cross = f"M {x - c:.1f} {y - c:.1f} l {d} {d} m 0 -{d} l -{d} {d}"
        shape += f'<path d="{cross}" stroke="{colour}" stroke-width="{max(size / 5, 1):.1f}" fill="none"/>'
    return shape


def _names(record: RunRecord, slot: Vertex) -> list[tuple[str, str]]:
    """Name and attack of each device of a branch, in the order of its leaves."""
    order = list(STATES)
    nodes = [node for node in record.nodes if node.branch == slot.path]
    nodes.sort(key=lambda node: order.index(state_of(node)))
    return [(node.name, node.attack or "") for node in nodes]


class _Drawing:
    """What has been drawn so far, in layers: wood below leaves below words."""

    def __init__(self, crown: Crown) -> None:
        self.crown = crown
        self.wood: list[str] = []
        self.leaves: list[str] = []
        self.words: list[str] = []
        self.deepest = max(level(vertex.path) for vertex in crown.root.walk()) or 1
        self.reach = CROWN + crown.rows * RING
        self.turned = (
            len(crown.slots) > 8
        )  # names of branches at the rim: along their radius, if there is room
        self.named = not self.turned or SPAN * self.reach / len(crown.slots) >= 12
        low = max(0.0, *(-self.reach * math.sin(slot.angle) for slot in crown.slots), 0.0) + 14
        top = self.reach + (92.0 if self.turned and self.named else 34.0)
        self.centre = (WIDTH / 2, top)
        self.height = top + max(TRUNK, low)

    def at(self, angle: float, radius: float) -> Point:
        return self.centre[0] + radius * math.cos(angle), self.centre[1] - radius * math.sin(angle)

    def end_of(self, vertex: Vertex) -> Point:
        return self.at(vertex.angle, self.radius(vertex))

    def radius(self, vertex: Vertex) -> float:
        return 0.8 * CROWN * level(vertex.path) / self.deepest

    def heading(self, vertex: Vertex) -> float:
        """A limb goes on the way it came; from the trunk, up."""
        return vertex.angle if level(vertex.path) else math.pi / 2

    def limbs(self, vertex: Vertex) -> None:
        """From a branch to each of its children, as thick as what hangs from it."""
        for child in vertex.children:
            thickness = 12 * math.sqrt(child.devices / (self.crown.root.devices or 1))
            bend = self.at(self.heading(vertex), self.radius(vertex) + 0.12 * CROWN)
            back = self.at(child.angle, self.radius(child) - 0.16 * CROWN)
            look = f'class="limb" stroke-width="{1.4 + thickness / (1 + 0.5 * level(child.path)):.1f}"'
            self.wood.append(_curve(self.end_of(vertex), bend, back, self.end_of(child), look))
        if level(vertex.path):
            self._name(vertex)

    def foliage(self, slot: Vertex, names: list[tuple[str, str]]) -> None:
        """The leaves of a branch and the twigs that bear them."""
        crown = self.crown
        begin = self.end_of(slot)
        size = 7.5 if crown.leaves <= 60 else min(4.6, 0.43 * crown.gap * CROWN)
        if slot.leaves and crown.leaves > MOST_TWIGS:
            end = self.at(slot.middle, CROWN)
            self.wood.append(_curve(begin, begin, end, end, 'class="twig"'))
        for number, (state, count) in enumerate(slot.leaves):
            column, row = divmod(number, crown.rows)
            angle = slot.middle + ((slot.columns - 1) / 2 - column) * crown.gap
            at = self.at(angle, CROWN + (row + 0.5) * RING)
            if row == 0 and crown.leaves <= MOST_TWIGS:
                bend = self.at(self.heading(slot), self.radius(slot) + (CROWN - self.radius(slot)) * 0.3)
                back = self.at(angle, self.radius(slot) + (CROWN - self.radius(slot)) * 0.7)
                cut = crown.rows == 1 and state.endswith("-out")
                self.wood.append(_curve(begin, bend, back, at, f'class="{"cut" if cut else "twig"}"'))
            name, attack = names[number] if names else (f"{slot.path}: {counted(count, 'device')}", "")
            title = f"{name}, {STATES[state]}{f' ({attack})' if attack else ''}"
            self.leaves.append(
                leaf(state, at, size * math.sqrt(max(count / crown.devices_a_leaf, 0.2)), title)
            )
            if names and crown.leaves <= MOST_NUMBERS:
                x, y = self.at(angle, CROWN + RING + 14)
                short = escape(name.rsplit("#", 1)[-1][:4])
                self.words.append(
                    f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" class="small">{short}</text>'
                )

    def _name(self, vertex: Vertex) -> None:
        name = escape(vertex.path.rsplit("/", 1)[-1][:18])
        said = f"{name}<title>{escape(vertex.path)}: {counted(vertex.devices, 'device')}</title>"
        if vertex.children or not self.turned:
            x, y = self.end_of(vertex)
            self.words.append(
                f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" class="name halo">{said}</text>'
            )
        elif self.named:
            x, y = self.at(vertex.angle, self.reach + 8)
            left = math.cos(vertex.angle) < 0
            turn = f"translate({x:.1f} {y:.1f}) rotate({180 * left - math.degrees(vertex.angle):.1f})"
            anchor = "end" if left else "start"
            self.words.append(
                f'<text transform="{turn}" dy="4" text-anchor="{anchor}" class="small">{said}</text>'
            )

    def svg(self) -> str:
        """All of it."""
        x, y = self.centre
        foot = self.height - 2
        trunk = (
            f"M {x - 8:.1f} {y:.1f} C {x - 8:.1f} {y + 44:.1f}, {x - 12:.1f} {foot - 8:.1f}, {x - 42:.1f} {foot:.1f} "
            f"L {x + 42:.1f} {foot:.1f} C {x + 12:.1f} {foot - 8:.1f}, {x + 8:.1f} {y + 44:.1f}, {x + 8:.1f} {y:.1f} "
            f"A 8 8 0 0 0 {x - 8:.1f} {y:.1f} z"
        )
        branches = sum(1 for _ in self.crown.root.walk()) + self.crown.folded
        label = (
            f"The tree: {counted(branches, 'branch', 'branches')} with "
            f"{counted(self.crown.root.devices, 'device')} as leaves"
        )
        return (
            f'<svg class="tree crown" viewBox="0 0 {WIDTH:.0f} {self.height:.0f}" role="img" aria-label="{label}">'
            f'<path d="{trunk}" fill="var(--wood)"/>{"".join(self.wood)}{"".join(self.leaves)}{"".join(self.words)}'
            f'<text x="{x:.1f}" y="{y + 6:.1f}" text-anchor="middle" class="name halo">/</text></svg>'
        )


def _curve(begin: Point, bend: Point, back: Point, end: Point, look: str) -> str:
    path = ", ".join(f"{x:.1f} {y:.1f}" for x, y in (bend, back, end))
    return f'<path d="M {begin[0]:.1f} {begin[1]:.1f} C {path}" {look}/>'
