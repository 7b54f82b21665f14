"""The look of a page: one style sheet, whose colours change with the reader's light or dark setting.

``banyan demo`` draws its page with the same sheet.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BASE", "STYLE"]

#: What every page shares.
BASE: Final = """
:root {
  --paper: #fbfbf8; --card: #ffffff; --ink: #1f2a24; --soft: #5d6a62; --line: #dfe4de; --wash: #e6f2ec;
  --good: #1b7f5c; --alone: #8a7640; --bad: #c2412d; --wood: #6f5a45; --warn: #fbe9e4; --calm: #3a6ea5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #121714; --card: #1a211d; --ink: #e6ece8; --soft: #9aa8a0; --line: #2f3933; --wash: #1d3229;
    --good: #4cc399; --alone: #cdb673; --bad: #f0826c; --wood: #a58a6e; --warn: #3a231e; --calm: #86b6ea;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink) }
body, .chart svg text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif !important }
body { font-size: 16px; line-height: 1.55 }
main { max-width: 860px; margin: 0 auto; padding: clamp(20px, 5vw, 56px) clamp(16px, 4vw, 32px) 72px }
.eyebrow { margin: 0 0 10px; color: var(--soft); font-size: 14px }
h1 { margin: 0 0 22px; font-size: clamp(26px, 5vw, 40px); line-height: 1.15; letter-spacing: -.02em }
h1 { text-wrap: balance }
h2 { margin: 0 0 12px; font-size: 19px; letter-spacing: -.01em }
section { margin-top: 44px }
figure { margin: 0; padding: clamp(12px, 3vw, 22px); border: 1px solid var(--line); border-radius: 12px }
figure { background: var(--card) }
figcaption { margin-top: 14px; color: var(--soft); font-size: 14px; max-width: 68ch }
figcaption b { color: var(--ink); font-weight: 600 }
.verdict { list-style: none; margin: 0; padding: 0; display: grid; gap: 8px }
.verdict li { padding-left: 28px; position: relative }
.verdict li::before { content: "✓"; position: absolute; left: 2px; font-weight: 700; color: var(--good) }
.verdict li.no::before { content: "✗"; color: var(--bad) }
.chart, .scroll { overflow-x: auto }
.chart svg { display: block; width: 100%; min-width: 480px; height: auto }
.tree { display: block; width: 100%; height: auto; font-family: inherit }
.tree .name { font-size: 14px; font-weight: 600; fill: var(--ink) }
.tree .small { font-size: 12px; fill: var(--soft) }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { padding: 8px 10px; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card) }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0 }
tbody th { font-weight: 600; white-space: nowrap }
td { white-space: nowrap }
.red { color: var(--bad) }
small { display: block; font-weight: 400; font-size: 12px; color: var(--soft) }
.id { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 11px }
.id { max-width: 16ch; overflow: hidden; text-overflow: ellipsis }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 8px 20px; margin: 0 }
dt { color: var(--soft) }
dd { margin: 0 }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .92em }
@media (max-width: 560px) { dl { grid-template-columns: 1fr; gap: 2px } dd { margin-bottom: 10px } }
"""

#: What the page of a simulation adds.
STYLE: Final = (
    BASE
    + """
.about { color: var(--soft); margin: -8px 0 18px; font-size: 18px }
.replay { color: var(--soft); font-size: 14px; overflow-wrap: anywhere }
.replay code { color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 6px }
.replay code { padding: 3px 8px }
.crown { min-width: 560px }
.limb, .twig, .cut { fill: none }
.limb { stroke: var(--wood); stroke-linecap: round }
.twig { stroke: var(--wood); stroke-width: 1.3; opacity: .55 }
.cut { stroke: var(--bad); stroke-width: 1.3; stroke-dasharray: 2 5 }
.halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 12px 0 0; padding: 0 }
.legend { font-size: 14px }
.legend svg { vertical-align: -2px }
.good { color: var(--good) !important } .bad { color: var(--bad) !important }
.calm { color: var(--calm) !important } .alone { color: var(--alone) !important }
details { margin-top: 14px }
summary { cursor: pointer; color: var(--soft); font-size: 14px }
summary:hover { color: var(--ink) }
:focus-visible { outline: 2px solid var(--good); outline-offset: 3px; border-radius: 4px }
caption { text-align: left; font-weight: 600; padding: 18px 0 6px }
.text td, .text th { text-align: left }
.text td:last-child { white-space: normal; min-width: 220px }
.hash { font-size: 12px }
dd { overflow-wrap: anywhere }
"""
)
