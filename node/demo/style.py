"""The look of the demo's page: one style sheet, whose colours change with the reader's light or dark setting."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  --paper: #fbfbf8; --card: #ffffff; --ink: #1f2a24; --soft: #5d6a62; --line: #dfe4de; --wash: #e6f2ec;
  --good: #1b7f5c; --alone: #8a7640; --bad: #c2412d; --wood: #6f5a45; --warn: #fbe9e4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #121714; --card: #1a211d; --ink: #e6ece8; --soft: #9aa8a0; --line: #2f3933; --wash: #1d3229;
    --good: #4cc399; --alone: #cdb673; --bad: #f0826c; --wood: #a58a6e; --warn: #3a231e;
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
.tree .led { font-size: 14px; fill: var(--card) }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { padding: 8px 10px; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card) }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0 }
tbody th { font-weight: 600; white-space: nowrap }
td { white-space: nowrap }
.text td, .text th { text-align: left }
.text td:nth-child(3) { white-space: normal; min-width: 190px }
.red { color: var(--bad) }
small { display: block; font-weight: 400; font-size: 12px; color: var(--soft) }
.id { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 11px }
.id { max-width: 16ch; overflow: hidden; text-overflow: ellipsis }
.grid td { text-align: center; border: solid var(--card); border-width: 0 0 3px 3px; border-radius: 8px }
.grid thead th { text-align: center }
.grid thead th:first-child { text-align: left }
.grid .used { background: var(--wash); color: var(--good) }
.grid .out { background: var(--warn); color: var(--bad) }
.star { margin-left: 5px; color: var(--ink) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 8px 20px; margin: 0 }
dt { color: var(--soft) }
dd { margin: 0 }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .92em }
@media (max-width: 560px) { dl { grid-template-columns: 1fr; gap: 2px } dd { margin-bottom: 10px } }
"""
