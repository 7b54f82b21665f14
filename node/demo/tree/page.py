"""The page of the tree: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from banyan.node.cli.wording import size
from banyan.node.demo.style import STYLE
from banyan.node.demo.tree.charts import loss_svg

LOSS_CAPTION: Final = (
    "Held-out loss in nats a token at each release. Sub-domains are measured on their own rows, the domain and the "
    "master on those of both sub-domains. Nobody trains at the domain or the master: what they know was lifted. A ring "
    "marks a release that lifted something."
)

LIFTS_CAPTION: Final = (
    "What a lift did to the model of the branch, and to that of each child. A child's model stays what it is: what "
    "moves up is taken off below in the same act."
)

NODES_CAPTION: Final = "Bytes count everything on the wire, the base model included."


def page(summary: Mapping[str, Any]) -> str:
    """The page as text."""
    holds = all(check["holds"] for check in summary["verdict"])
    title = (
        "What sub-domains learned rose to their domain and came down to newcomers"
        if holds
        else "This run does not show what it should"
    )
    checks = "".join(
        f'<li class="{"yes" if check["holds"] else "no"}">{escape(check["sentence"])}</li>'
        for check in summary["verdict"]
    )
    sections = [
        _figure(
            "Every branch over time",
            f'<div class="chart">{loss_svg(summary)}</div>',
            LOSS_CAPTION,
        ),
        _figure("Rising", _scroll(_lifts(summary)), LIFTS_CAPTION),
        _figure(
            "Coming down",
            _scroll(_newcomers(summary)),
            f"{escape(summary['newcomers']['branch'])} opened last. "
            "Its nodes have rows of owners that nobody else has. It begins with its parent's model.",
        ),
        _figure("The nodes", _scroll(_nodes(summary)), NODES_CAPTION),
        _figure("How it was done", _settings(summary), ""),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Banyan demo: a tree</title><style>{STYLE}</style></head><body><main>"
        f'<header><p class="eyebrow">Banyan demo · {escape(summary["date"])} · {escape(summary["machine"])}</p>'
        f'<h1>{title}</h1><ul class="verdict {"held" if holds else "failed"}">{checks}</ul></header>'
        f"{''.join(sections)}</main></body></html>\n"
    )


# --------------------------------------------------------------------------------------------- tables


def _figure(title: str, content: str, caption: str) -> str:
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<section><h2>{escape(title)}</h2><figure>{content}{caption}</figure></section>"


def _scroll(table: str) -> str:
    return f'<div class="scroll">{table}</div>'


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """The first cell of a row is its name."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _lifts(summary: Mapping[str, Any]) -> str:
    rows = []
    for lift in summary["lifts"]:
        counted = ", ".join(f"{child['branch']}@{child['height']}" for child in lift["children"])
        children = "; ".join(
            f"{child.rpartition('/')[2]} {_loss(pair['before'])} → {_loss(pair['after'])}"
            for child, pair in lift["of_children"].items()
        )
        rows.append(
            (
                f"{lift['branch']}@{lift['height']}",
                counted,
                f"{_loss(lift['before'])} → {_loss(lift['after'])}",
                children,
            )
        )
    return _table(("release", "children counted", "its model", "its children's models"), rows)


def _newcomers(summary: Mapping[str, Any]) -> str:
    new = summary["newcomers"]
    rows = [
        ("the base model", _loss(new["base"])),
        ("at its opening: its parent's model", _loss(new["opening"])),
        ("after its own rounds", _loss(new["end"])),
    ]
    return _table(("model", "held-out loss"), rows)


def _nodes(summary: Mapping[str, Any]) -> str:
    rows = [
        (
            node["name"],
            node["branch"],
            ", ".join(node["owners"]).replace("_", " "),
            str(node["training_rows"]),
            size(node["bytes_received"]),
            size(node["bytes_sent"]),
        )
        for node in summary["nodes"]
    ]
    return _table(("node", "branch", "owners", "rows", "received", "sent"), rows)


def _settings(summary: Mapping[str, Any]) -> str:
    chosen = summary["settings"]
    load = summary.get("load_at_start", 0.0)
    busy = f" (on a machine that was busy: load {load:.0f} before it began)" if load > 1 else ""
    facts = {
        "Network": f"{summary['network'][:16]}…, permissioned: every node joined with an invite",
        "Base model": summary["base"],
        "Data": f"{summary['data']}, shared out by owner, so no two nodes hold alike rows",
        "Training": f"{chosen['rounds']} rounds of {chosen['steps']} steps, {chosen['batch']} rows a step, "
        f"learning rate {chosen['learning_rate']:g}, rank {chosen['rank']}, updates as {chosen['codec']}",
        "Lifts": f"{chosen['lift_rule']} of the children; when: {chosen['lift_policy']}",
        "Time": f"{summary['wall_seconds']:.0f} s in all{busy}",
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>"


def _loss(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.3f}"
