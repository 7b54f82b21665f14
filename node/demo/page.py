"""The demo's page: one self-contained HTML file, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from banyan.node.cli.wording import size
from banyan.node.demo.audit import OUTVOTED
from banyan.node.demo.charts import loss_svg
from banyan.node.demo.drawing import branch_svg
from banyan.node.demo.style import STYLE
from banyan.security.admission import Reason

NUMBERS = [
    "No",
    "One",
    "Two",
    "Three",
    "Four",
    "Five",
    "Six",
    "Seven",
    "Eight",
    "Nine",
    "Ten",
    "Eleven",
    "Twelve",
]


def write_page(summary: Mapping[str, Any], path: Path) -> None:
    """Write the page of a summary."""
    path.write_text(page(summary), "utf-8")


def page(summary: Mapping[str, Any]) -> str:
    """The page as text."""
    holds = all(check["holds"] for check in summary["verdict"])
    title = headline(summary)
    sections = [
        _figure(
            "What it brought",
            f'<div class="chart">{loss_svg(summary)}</div>',
            _loss_caption(summary),
        ),
        _figure("The branch", f'<div class="scroll">{branch_svg(summary)}</div>', _branch_caption(summary)),
        _figure(
            "Whose update was used", f'<div class="scroll">{_grid(summary)}</div>', _grid_caption(summary)
        ),
        _figure("The nodes", f'<div class="scroll">{_nodes(summary)}</div>', NODES_CAPTION),
        _figure("The releases", f'<div class="scroll">{_releases(summary)}</div>', RELEASES_CAPTION),
        _figure("How it was done", _settings(summary), ""),
    ]
    checks = "".join(
        f'<li class="{"yes" if check["holds"] else "no"}">{escape(check["sentence"])}</li>'
        for check in summary["verdict"]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Banyan demo: {escape(summary['branches'][0])}</title><style>{STYLE}</style></head><body><main>"
        f'<header><p class="eyebrow">Banyan demo · {escape(summary["date"])} · {escape(summary["machine"])}</p>'
        f"<h1>{escape(title)}</h1>"
        f'<ul class="verdict {"held" if holds else "failed"}">{checks}</ul></header>'
        f"{''.join(sections)}</main></body></html>\n"
    )


def headline(summary: Mapping[str, Any]) -> str:
    """The verdict in one line."""
    honest = sum(node["role"] == "honest" for node in summary["nodes"])
    others = len(summary["nodes"]) - honest
    if not all(check["holds"] for check in summary["verdict"]):
        return "This run does not show what it should"
    learned = f"{_count(honest)} nodes learned more together than any of them alone"
    if not others:
        return learned
    if summary["attacker_influence"] is None:
        return f"{learned}, in spite of {_count(others).lower()} attacker{'s' if others > 1 else ''}"
    return f"{learned}, and {'an attacker' if others == 1 else f'{_count(others).lower()} attackers'} got nowhere"


def _count(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def _figure(title: str, content: str, caption: str) -> str:
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<section><h2>{escape(title)}</h2><figure>{content}{caption}</figure></section>"


# ------------------------------------------------------------------------------------------- captions


def _loss_caption(summary: Mapping[str, Any]) -> str:
    steps = summary["settings"]["steps"]
    text = (
        f"Mean loss in nats a token on {summary['held_out_rows']} held-out rows of all honest owners. "
        f"<b>Together</b>: the release that each round ended with. <b>Alone</b>: each honest node by itself, "
        f"{steps} steps a round on the same rows in the same order."
    )
    best = _best_alone(summary)
    if best is not None and best > (summary["curves"]["together"][-1] or 0.0):
        text += f" Even the best round of anybody alone ({best:.3f}) is above where they end together."
    if summary["attack"] is not None:
        text += " "
        text += (
            "<b>Plain mean</b>: the same network with the same attack, but every update counts the same and "
            "nobody checks anything; computed beside the real run, in one process."
        )
    return text


def _best_alone(summary: Mapping[str, Any]) -> float | None:
    curves = summary["curves"]["alone"].values()
    return min((loss for curve in curves for loss in curve[1:] if loss is not None), default=None)


def _branch_caption(summary: Mapping[str, Any]) -> str:
    text = (
        "Each root is one process with data of its own; below its name, the owners whose rows it holds. "
        "★ led at least one round."
    )
    if summary["attack"] is not None:
        text += " Red is malicious. A root that is cut fed nothing into any release."
    return text


def _grid_caption(summary: Mapping[str, Any]) -> str:
    reasons = sorted({each["reason"] for round_ in summary["rounds"] for each in round_["left_out"]})
    said = " ".join(f"<b>{escape(reason)}</b>: {escape(_sentence(reason, summary))}" for reason in reasons)
    return (
        "The share of each round's release that each update got, recomputed from the signed updates when "
        f"the release was certified. {said}"
    )


def _sentence(reason: str, summary: Mapping[str, Any]) -> str:
    if reason == OUTVOTED:
        return f"It was well-formed and admitted, and {summary['rule']} gave it no weight."
    try:
        return Reason(reason).sentence
    except ValueError:
        return ""


NODES_CAPTION = (
    "Losses on the same held-out rows for everybody. Bytes count everything on the wire: the base model "
    "that nodes fetched from each other, gossip, updates and releases."
)

RELEASES_CAPTION = (
    "Each release carries the signatures of a quorum of its committee; each of them recomputed it before "
    "signing, and the demo recomputed it once more."
)

# --------------------------------------------------------------------------------------------- tables


def _grid(summary: Mapping[str, Any]) -> str:
    head = "".join(f'<th scope="col">{round_["height"]}</th>' for round_ in summary["rounds"])
    rows = []
    for node in summary["nodes"]:
        absent = "shut out" if node["id"] in summary["quarantined"] else "not seen"
        cells = "".join(_cell(node["id"], round_, absent) for round_ in summary["rounds"])
        kind = ' class="red"' if node["role"] != "honest" else ""
        rows.append(f'<tr><th scope="row"{kind}>{escape(node["name"])}</th>{cells}</tr>')
    head = f'<thead><tr><th scope="col">round</th>{head}</tr></thead>'
    return f'<table class="grid">{head}<tbody>{"".join(rows)}</tbody></table>'


def _cell(node: str, round_: Mapping[str, Any], absent: str) -> str:
    star = '<span class="star" title="led this round">★</span>' if round_["leader"] == node else ""
    if node in round_["used"]:
        weights = round_["weights"]
        share = f"{weights[node]:.0%}" if weights is not None else "used"
        return f'<td class="used">{share}{star}</td>'
    reasons = {each["author"]: each["reason"] for each in round_["left_out"]}
    return f'<td class="out">{escape(reasons.get(node, absent))}{star}</td>'


def _nodes(summary: Mapping[str, Any]) -> str:
    names = ("node", "rows", "loss before", "together", "alone", "received", "sent")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = []
    for node in summary["nodes"]:
        kind = ' class="red"' if node["role"] != "honest" else ""
        shut = summary["quarantined"].get(node["id"])
        name = escape(node["name"]) + (f" <small>shut out: {escape(shut)}</small>" if shut else "")
        values = [
            node["training_rows"],
            _loss(node["loss_before"]),
            _loss(node["loss_after"]) if node["role"] == "honest" else "",
            _loss(node["loss_local_only"]) if node["role"] == "honest" else "",
            size(node["bytes_received"]),
            size(node["bytes_sent"]),
        ]
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(
            f'<tr><th scope="row"{kind}>{name}<small class="id">{escape(node["id"])}</small></th>{cells}</tr>'
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _releases(summary: Mapping[str, Any]) -> str:
    names = {node["id"]: node["name"] for node in summary["nodes"]}
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("release", "led by", "co-signed by", "used", "loss")
    )
    rows = []
    for round_ in summary["rounds"]:
        signers = ", ".join(names.get(node, node[-8:]) for node in round_["cosigners"])
        rows.append(
            f'<tr><th scope="row">{round_["height"]}<small class="id">{round_["release"][:16]}…</small></th>'
            f"<td>{escape(names.get(round_['leader'], '?'))}</td><td>{escape(signers)}</td>"
            f"<td>{len(round_['used'])}</td><td>{_loss(round_['loss'])}</td></tr>"
        )
    return f'<table class="text"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _settings(summary: Mapping[str, Any]) -> str:
    chosen = summary["settings"]
    facts = {
        "Network": f"<code>{summary['network'][:16]}…</code>, permissioned: every node joined with an invite",
        "Base model": escape(summary["base"]),
        "Data": f"{escape(summary['data'])}, shared out by owner, so no two nodes hold alike rows",
        "Rule": f"{escape(summary['rule'])}, to survive f = {summary['f']}",
        "Training": f"{chosen['rounds']} rounds of {chosen['steps']} steps, {chosen['batch']} rows a step, "
        f"learning rate {chosen['learning_rate']:g}, rank {chosen['rank']}, updates as {chosen['codec']}",
        "Time": f"{summary['wall_seconds']:.0f} s in all, the comparisons included{_load(summary)}",
    }
    if summary["attack"] is not None:
        strength = chosen["attack_strength"]
        facts["Attack"] = escape(summary["attack"]) + (
            f", the attacker's own lesson turned round and made {strength:g} times as long"
            if strength
            else ""
        )
        moved = summary["attacker_displacement"]
        facts["Influence"] = (
            "leaving the attackers' updates out would change no release at all"
            if not moved
            else f"leaving the attackers' updates out would change a release by {moved:.0%} of its length"
        )
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>"


def _load(summary: Mapping[str, Any]) -> str:
    """Others' work on the machine, where it slowed the run down."""
    load = summary.get("load_at_start", 0.0)
    return f" (on a machine that was busy: load {load:.0f} before it began)" if load > 1 else ""


def _loss(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.3f}"
