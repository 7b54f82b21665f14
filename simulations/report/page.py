"""The page of a run: one self-contained HTML file, light and dark, wide and narrow, in the order of what one asks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from rich.filesize import decimal

from banyan.simulations.report.absence import Absence, AbsenceOf, absence_of, sentence
from banyan.simulations.report.crown import STATES, Crown, grow, state_of
from banyan.simulations.report.figures import absence_figure, curve_figure, timeline_figure, traffic_figure
from banyan.simulations.report.ink import PAGE, inline_svg
from banyan.simulations.report.plots import Plots
from banyan.simulations.report.story import Arms, checks, facts, headline
from banyan.simulations.report.style import STYLE
from banyan.simulations.report.traffic import Traffic
from banyan.simulations.report.tree import leaf, tree_svg
from banyan.simulations.report.words import ARM_NAMES, counted, duration, number

__all__ = ["page"]

#: Rows of a table; the CSV files beside the page hold the rest.
MOST_ROWS = 12
MOST_FAULTS = 200


def page(arms: Arms, plots: Plots, replay: str) -> str:
    """The page as text. ``replay`` is the command that shows this run again."""
    main = arms.main
    absence, crown = absence_of(main), grow(main)
    sections = [
        _loss(arms, plots),
        _accuracy(plots),
        _section(
            "The tree", _scroll(tree_svg(crown, main), "The tree") + _legend(arms), _tree_caption(crown)
        ),
        _latency(arms, plots),
        _traffic(plots.traffic),
        _absence(arms, absence),
        _timeline(arms),
        _settings(arms),
    ]
    holds = all(check.holds for check in checks(arms))
    verdict = "".join(
        f'<li class="{"yes" if check.holds else "no"}">{escape(check.sentence)}</li>'
        for check in checks(arms)
    )
    where = f"{counted(len(main.nodes), 'device')} on {counted(len(main.branches), 'branch', 'branches')}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(main.scenario)}, seed {main.seed}: Banyan simulation</title><style>{STYLE}</style></head>"
        f'<body><main><header><p class="eyebrow">Banyan simulation · {escape(main.scenario)} · seed {main.seed} · '
        f"{where}</p><h1>{escape(headline(arms))}</h1>"
        f'<p class="about">{escape(main.about)}</p><ul class="verdict {"held" if holds else "failed"}">{verdict}</ul>'
        f"<p>{escape(' '.join(facts(arms)))}</p>"
        f'<p class="replay">Run it again: <code>{escape(replay)}</code></p></header>'
        f"{''.join(sections)}</main></body></html>\n"
    )


# ------------------------------------------------------------------------------------------- parts


def _section(title: str, content: str, caption: str = "") -> str:
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<section><h2>{escape(title)}</h2><figure>{content}{caption}</figure></section>"


def _scroll(content: str, label: str) -> str:
    """What may be wider than the screen, in reach of the keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def _chart(drawn: str, label: str) -> str:
    return f'<div class="chart" tabindex="0" role="region" aria-label="{escape(label)}">{drawn}</div>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "", title: str = "") -> str:
    """Cells are HTML; the first of a row names it."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    return f'<table class="{kind}">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _loss(arms: Arms, plots: Plots) -> str:
    if not plots.losses:
        return ""
    label = "Held-out loss after each round, by arm"
    drawn = inline_svg(curve_figure(plots.losses, PAGE, "held-out loss"), "loss", label)
    keys = [("as-is", "good", "the network with its own rule, with whatever the scenario does to it")]
    if arms.attackers:
        keys += [
            ("no-attack", "calm", "the same seed with everybody honest"),
            (
                "plain-mean",
                "bad",
                "the same attackers where every update counts the same and nothing is refused",
            ),
        ]
    said = " ".join(
        f'<b class="{colour}">{escape(ARM_NAMES[arm].capitalize())}</b>: {what}.'
        for arm, colour, what in keys
        if arm in arms.by_name
    )
    if arms.main.alone:
        said += ' <b class="alone">Alone</b>: the same number of steps without any exchange.'
    if all(panel.branches == 1 for panel in plots.losses):
        said += " The shade reaches up to the device that is served worst."
    else:
        said += " Lines are the median branch of a level, the shade holds the middle eight tenths of its branches."
    text = f"Mean loss of a branch’s honest devices on data that they did not train on. {said}"
    return _section("Did they learn?", _chart(drawn, label) + _folded("The numbers", _ends(plots)), text)


def _ends(plots: Plots) -> str:
    names = [arm for arm in ARM_NAMES if any(arm in panel.curves for panel in plots.losses)]
    columns = ["branch", "start", *(f"end, {ARM_NAMES[arm]}" for arm in names), "alone"]
    rows = []
    for panel in plots.losses:
        ends = [number(panel.curves[arm].middle[-1]) if arm in panel.curves else "–" for arm in names]
        first = next(iter(panel.curves.values()))
        rows.append([escape(panel.title), number(first.middle[0]), *ends, number(panel.alone)])
    return _scroll(_table(columns, rows), "Losses in numbers")


def _accuracy(plots: Plots) -> str:
    if not plots.accuracies:
        return ""
    label = "Held-out accuracy after each round, by arm"
    drawn = inline_svg(curve_figure(plots.accuracies, PAGE, "held-out accuracy"), "accuracy", label)
    return _section(
        "How often are they right?", _chart(drawn, label), "Share of held-out examples, mean of devices."
    )


def _legend(arms: Arms) -> str:
    states = [state_of(node) for node in arms.main.nodes]
    items = "".join(
        f'<li><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{leaf(state, (8, 8), 5.5)}</svg> '
        f"{escape(said)}: {states.count(state):,}</li>"
        for state, said in STATES.items()
        if state in states
    )
    return f'<ul class="legend">{items}</ul>'


def _tree_caption(crown: Crown) -> str:
    text = "Limbs are branches, as thick as what hangs from them; leaves are devices."
    if crown.devices_a_leaf > 1:
        text += (
            f" A full leaf stands for {crown.devices_a_leaf:,} devices of one branch, a small one for fewer."
        )
    if crown.folded:
        text += (
            f" {counted(crown.folded, 'branch', 'branches')} of the deepest levels are drawn in their parent."
        )
    return text + " Point at a leaf to read its name."


def _latency(arms: Arms, plots: Plots) -> str:
    if not plots.latencies:
        return ""
    label = "Seconds from release to release, by round"
    drawn = inline_svg(curve_figure(plots.latencies, PAGE, "seconds", zero=True), "latency", label)
    releases = sorted(arms.main.releases, key=lambda release: release.latency)
    typical, last = median(release.latency for release in releases), releases[-1]
    caption = (
        f"Virtual time from one certified release of a branch to the next. Half of them took {duration(typical)} or "
        f"less; the slowest, {duration(last.latency)}: release {last.height} of {escape(last.branch)}, led by "
        f"{escape(last.leader)}. Colours are those of the first plot."
    )
    return _section("How long does a round take?", _chart(drawn, label), caption)


def _traffic(traffic: Sequence[Traffic]) -> str:
    label = "How many devices send how many messages and bytes in a round"
    drawn = inline_svg(traffic_figure(traffic, PAGE), "traffic", label)
    groups = [
        (name, [each for each in traffic if each.attacks == attacks])
        for name, attacks in (("honest", False), ("attackers", True))
    ]
    columns = ("of one device a round", "messages, median", "most", "bytes, median", "most")
    table = _table(columns, [_usual(name, group) for name, group in groups if group])
    caption = "What a device sent, messages and the updates and models it served, divided by the rounds of its branch."
    if groups[1][1]:
        caption += ' <b class="good">Green</b>: honest devices. <b class="bad">Red</b>: attackers.'
    content = _chart(drawn, label) + _scroll(table, "Traffic in numbers")
    return _section("What does it cost a device?", content, caption)


def _usual(name: str, group: Sequence[Traffic]) -> list[str]:
    most = max(group, key=lambda each: each.bytes)
    return [
        name,
        f"{median(each.messages for each in group):,.0f}",
        f"{max(each.messages for each in group):,.0f}",
        decimal(int(median(each.bytes for each in group))),
        f"{decimal(int(most.bytes))}<small>{escape(most.name)}</small>",
    ]


def _absence(arms: Arms, absence: Absence) -> str:
    if not arms.main.releases:
        return ""
    if not absence.reasons:
        return _section("Who was left out?", "<p>Nobody: every update was used.</p>")
    label = "Updates left out, by reason"
    drawn = inline_svg(absence_figure(absence, PAGE), "absence", label)
    tables = ""
    for title, group in (("Attackers", absence.attackers), ("Honest devices", absence.honest)):
        out = [each for each in group if each.left_out]
        if out:
            tables += _scroll(_left_out(title, out, len(group)), f"{title} that were left out")
        elif group:
            tables += f"<p>{title}: none was ever left out.</p>"
    meant = [(each.reason, sentence(each.reason)) for each in absence.reasons]
    said = " ".join(f"<b>{escape(reason)}</b>: {escape(text)}" for reason, text in meant if text)
    key = '<b class="bad">Red</b>: attackers’ updates. <b class="good">Green</b>: honest ones.'
    return _section("Who was left out, and why?", _chart(drawn, label) + tables, f"{key} {said}")


def _left_out(title: str, out: Sequence[AbsenceOf], of: int) -> str:
    rows = [
        [
            escape(each.name) + (f"<small>{escape(each.attack)}</small>" if each.attack else ""),
            f"{each.left_out:,}",
            f"{each.used:,}",
            escape(", ".join(f"{reason} ×{times:,}" for reason, times in each.reasons)),
        ]
        for each in out[:MOST_ROWS]
    ]
    more = f", the {MOST_ROWS} most often left out; releases.csv has all" if len(out) > MOST_ROWS else ""
    caption = f"{title}: {len(out):,} of {of:,} were left out at least once{more}"
    return _table(("device", "left out", "used", "why"), rows, "text", caption)


def _timeline(arms: Arms) -> str:
    main = arms.main
    label = "Releases, faults and broken invariants over virtual time"
    drawn = inline_svg(timeline_figure(main, PAGE), "timeline", label)
    happened = [(time, escape(what)) for time, what in main.faults[:MOST_FAULTS]]
    content = _chart(drawn, label)
    if happened:
        rows = [[duration(time), what] for time, what in happened]
        table = _scroll(_table(("after", "what happened"), rows, "text"), "Faults")
        content += table if len(rows) <= MOST_ROWS else _folded(f"All {len(main.faults):,} faults", table)
    caption = "" if main.faults else "Nothing was cut, crashed or joined late in this run."
    if len(main.faults) > MOST_FAULTS:
        caption = f"The list ends after the first {MOST_FAULTS}; run.json has all."
    if main.violations:
        rows = [
            [duration(each.time), escape(each.invariant), escape(each.where), escape(each.what)]
            for each in main.violations[:MOST_ROWS]
        ]
        table = _table(("after", "invariant", "where", "what was seen"), rows, "text", "Broken invariants")
        content += _scroll(table, "Broken invariants")
    return _section("What happened when?", content, caption)


def _settings(arms: Arms) -> str:
    main = arms.main
    rows = [
        [
            escape(ARM_NAMES.get(arm, arm)),
            f'<code class="hash">{escape(record.trace)}</code>',
            f"{record.events:,}",
            duration(record.virtual_ms),
            duration(record.seconds * 1_000),
        ]
        for arm, record in arms.by_name.items()
    ]
    columns = ("arm", "trace hash", "inputs handled", "virtual time", "wall time")
    chosen = "".join(
        f"<dt><code>{escape(key)}</code></dt><dd><code>{escape(value)}</code></dd>"
        for key, value in _flat(main.settings)
    )
    signed = (
        "Signatures: Ed25519, as in the daemon."
        if main.signatures.lower() == "ed25519"
        else f"Signatures: {escape(main.signatures)}, a stand-in with the same interface. This run says nothing about "
        "forging or about what signing costs."
    )
    caption = f"{signed} Seed {main.seed}. The same seed gives the same trace hash on every machine."
    content = _scroll(_table(columns, rows, "text"), "Traces") + _folded("All settings", f"<dl>{chosen}</dl>")
    return _section("How was it done?", content, caption)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Keys as ``--set`` takes them."""
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False)))
    return found
