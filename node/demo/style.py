"""The look of the demo's page: the style sheet of all pages, and what only this one has."""

from __future__ import annotations

from typing import Final

from banyan.simulations.report.style import BASE

STYLE: Final = (
    BASE
    + """
.tree .led { font-size: 14px; fill: var(--card) }
.text td, .text th { text-align: left }
.text td:nth-child(3) { white-space: normal; min-width: 190px }
.grid td { text-align: center; border: solid var(--card); border-width: 0 0 3px 3px; border-radius: 8px }
.grid thead th { text-align: center }
.grid thead th:first-child { text-align: left }
.grid .used { background: var(--wash); color: var(--good) }
.grid .out { background: var(--warn); color: var(--bad) }
.star { margin-left: 5px; color: var(--ink) }
"""
)
