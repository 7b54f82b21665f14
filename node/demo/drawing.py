"""The branch as a banyan: a limb of the tree, and the nodes that hang from it and feed it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

#: Room for one node, in the drawing's units.
STEP: Final = 118
TOP: Final = 92
HANG: Final = 118


def branch_svg(summary: Mapping[str, Any]) -> str:
    """An inline ``<svg>`` in the page's colours; wide networks are wider, the page lets them scroll."""
    nodes = summary["nodes"]
    width = 64 + STEP * len(nodes)
    rows = max(len(_wrapped(_owners(node))) for node in nodes)
    height = TOP + HANG + 42 + 16 * rows
    path = summary["branches"][0]
    parts = [_limb(width, path, len(summary["rounds"]))]
    lost = {each["author"] for round_ in summary["rounds"] for each in round_["left_out"]}
    used = {author for round_ in summary["rounds"] for author in round_["used"]}
    leaders = [round_["leader"] for round_ in summary["rounds"]]
    for number, node in enumerate(nodes):
        state = "whole" if node["id"] in used and node["id"] not in lost else "partly"
        if node["id"] not in used:
            state = "cut"
        parts.append(_node(32 + STEP * (number + 0.5), number, node, state, leaders.count(node["id"])))
    label = escape(f"The branch {path} with {len(nodes)} nodes hanging from it", quote=True)
    return (
        f'<svg class="tree" viewBox="0 0 {width:.0f} {height}" style="min-width:{min(width, 620):.0f}px" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def _limb(width: float, path: str, releases: int) -> str:
    """The trunk comes down from the root on the left and becomes the limb of the branch."""
    segments = ["/", *("/" + "/".join(path.strip("/").split("/")[: n + 1]) for n in range(path.count("/")))]
    above = segments[:-1]
    trunk = f"M 20 8 C 20 {TOP - 30}, 34 {TOP}, 84 {TOP} L {width - 26:.0f} {TOP}"
    parts = [
        f'<path d="{trunk}" fill="none" stroke="var(--wood)" stroke-width="10" stroke-linecap="round"/>',
        f'<text x="{width - 26:.0f}" y="{TOP - 40}" text-anchor="end" class="name">{escape(path)}</text>',
        f'<text x="{width - 26:.0f}" y="{TOP - 22}" text-anchor="end" class="small">'
        f"{releases} certified release{'s' if releases != 1 else ''}</text>",
    ]
    for number, name in enumerate(above):
        y = 14 + number * 24
        parts.append(
            f'<circle cx="20" cy="{y}" r="5" fill="var(--paper)" stroke="var(--wood)" stroke-width="3"/>'
        )
        parts.append(f'<text x="36" y="{y + 4}" class="small">{escape(name)}</text>')
    return "".join(parts)


def _node(x: float, number: int, node: Mapping[str, Any], state: str, led: int) -> str:
    """One aerial root: whole, thin (left out at times), or cut off from the limb."""
    foot = TOP + HANG
    colour = "var(--good)" if node["role"] == "honest" else "var(--bad)"
    sway = 10 if number % 2 else -10
    begin = TOP + (44 if state == "cut" else 5)
    root = f"M {x:.1f} {begin} C {x + sway:.1f} {begin + 34}, {x - sway:.1f} {foot - 44}, {x:.1f} {foot - 13}"
    style = {
        "whole": 'stroke-width="5"',
        "partly": 'stroke-width="3"',
        "cut": 'stroke-width="3" stroke-dasharray="3 6"',
    }
    parts = [f'<path d="{root}" fill="none" stroke="{colour}" stroke-linecap="round" {style[state]}/>']
    if state == "cut":
        parts.append(
            f'<path d="M {x - 7:.1f} {TOP + 17} l 14 14 m 0 -14 l -14 14" stroke="var(--bad)" stroke-width="3" '
            'stroke-linecap="round"/>'
        )
    parts.append(f'<circle cx="{x:.1f}" cy="{foot}" r="13" fill="{colour}"/>')
    if led:
        parts.append(f'<text x="{x:.1f}" y="{foot + 4.5}" text-anchor="middle" class="led">★</text>')
    lines = [(node["name"], "name"), *((line, "small") for line in _wrapped(_owners(node)))]
    for row, (text, kind) in enumerate(lines):
        parts.append(
            f'<text x="{x:.1f}" y="{foot + 34 + 16 * row}" text-anchor="middle" class="{kind}">{escape(text)}</text>'
        )
    return "".join(parts)


def _owners(node: Mapping[str, Any]) -> str:
    return ", ".join(owner.replace("_", " ") for owner in node["owners"])


def _wrapped(text: str, room: int = 19, most: int = 4) -> list[str]:
    """``text`` in at most ``most`` lines."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + " …"]
