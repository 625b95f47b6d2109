"""The picture: pick-up latency on a logarithmic scale, empty jobs and adds per second as bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.queue.results import Results

_OURS, _PEER, _INK, _GRID = "#0b5fa5", "#767676", "#1f1f1f", "#d9d9d9"
_ROW, _TOP, _LABELS, _GAP = 26, 64, 96, 34
#: Width of each panel, of which the right end is kept for the figure beside the last bar.
_PANEL, _FIGURE = 250, 56


@dataclass(frozen=True, slots=True)
class _Canvas:
    parts: list[str]

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", bold: bool) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> None:
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"/>'
        )

    def dot(self, x: float, y: float, colour: str) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')


def draw(results: Results) -> str:
    """The picture as SVG, with a description for those who can't see it."""
    peers = results["peers"]
    width = _LABELS + 3 * (_PANEL + _GAP)
    height = _TOP + _ROW * len(peers) + 14
    canvas = _Canvas([])
    for row, peer in enumerate(peers):
        canvas.text(_LABELS - 10, _middle(row) + 4, peer["name"], anchor="end", bold=row == 0)
    _latencies(canvas, peers, _LABELS)
    _bars(canvas, peers, _LABELS + _PANEL + _GAP, "jobs_per_s", "Empty jobs per second")
    _bars(canvas, peers, _LABELS + 2 * (_PANEL + _GAP), "adds_per_s", "Adds per second")
    title = "Queues side by side: pick-up latency, empty jobs per second, adds per second"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="title description" '
            f'font-family="sans-serif" font-size="12" fill="{_INK}">',
            f'<title id="title">{title}</title>',
            f'<desc id="description">{escape(_description(peers))}</desc>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *canvas.parts,
            "</svg>\n",
        ]
    )


def _latencies(canvas: _Canvas, peers: list[dict[str, Any]], left: float) -> None:
    top = max(peer["pick_up_p99_ms"] for peer in peers)
    decades = max(1, math.ceil(math.log10(top)))

    def x(milliseconds: float) -> float:
        return left + (_PANEL - _FIGURE) * max(0.0, math.log10(milliseconds)) / decades

    canvas.text(left, 18, "Pick-up on an idle worker, ms", bold=True)
    canvas.text(left, 34, "dot: p50, line to p99; each step is ten times", bold=False)
    for decade in range(decades + 1):
        at = x(10**decade)
        canvas.line(at, _TOP - 8, at, _middle(len(peers) - 1) + 12, _GRID, 1)
        canvas.text(at, _TOP - 12, f"{10**decade:,}", anchor="middle", bold=False)
    for row, peer in enumerate(peers):
        p50, p99 = peer["pick_up_p50_ms"], peer["pick_up_p99_ms"]
        colour = _colour(row)
        canvas.line(x(p50), _middle(row), x(p99), _middle(row), colour, 2)
        canvas.dot(x(p50), _middle(row), colour)
        canvas.text(x(p99) + 9, _middle(row) + 4, f"{p50:.3g}", bold=row == 0)


def _bars(canvas: _Canvas, peers: list[dict[str, Any]], left: float, key: str, title: str) -> None:
    top = max(peer[key] for peer in peers)
    canvas.text(left, 18, title, bold=True)
    canvas.text(left, 34, "longer is better", bold=False)
    canvas.line(left, _TOP - 8, left, _middle(len(peers) - 1) + 12, _GRID, 1)
    for row, peer in enumerate(peers):
        end = left + (_PANEL - _FIGURE) * peer[key] / top
        canvas.line(left, _middle(row), end, _middle(row), _colour(row), 14)
        canvas.text(end + 7, _middle(row) + 4, f"{peer[key]:,}", bold=row == 0)


def _middle(row: int) -> float:
    return _TOP + _ROW * row + _ROW / 2


def _colour(row: int) -> str:
    return _OURS if row == 0 else _PEER


def _description(peers: Iterable[dict[str, Any]]) -> str:
    return " ".join(
        f"{p['name']}: picked up after {p['pick_up_p50_ms']} ms (p50), {p['pick_up_p99_ms']} ms "
        f"(p99); {p['jobs_per_s']} empty jobs/s; {p['adds_per_s']} adds/s."
        for p in peers
    )
