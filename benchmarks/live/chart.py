"""The picture: how late messages are, at the server and at the client, on a logarithmic scale."""

from __future__ import annotations

import math
from html import escape
from typing import Any

_SERVER, _CLIENT, _INK, _GRID = "#0b5fa5", "#767676", "#1f1f1f", "#d9d9d9"
_LEFT, _WIDTH, _TOP, _ROW = 370, 420, 64, 30
PROMISED_MS = 250


def draw(trials: list[dict[str, Any]]) -> str:
    """The picture as SVG, with a description for those who can't see it."""
    rows = [
        (f"{trial['name']}: {where}", trial[f"{where}_ms"], colour)
        for trial in trials
        for where, colour in (("server", _SERVER), ("client", _CLIENT))
    ]
    decades = math.ceil(math.log10(max(lag["p99"] for _, lag, _ in rows) + 1))
    decades = max(decades, 3)

    def x(milliseconds: float) -> float:
        return _LEFT + _WIDTH * max(0.0, math.log10(max(milliseconds, 1))) / decades

    height = _TOP + _ROW * len(rows) + 10
    bottom = height - 8
    parts = [_text(_LEFT, 18, "From Redis to the line, ms", weight="bold"),
             _text(_LEFT, 34, "dot: p50, line to p99; each step is ten times")]  # fmt: skip
    for decade in range(decades + 1):
        at = x(10**decade)
        parts += [_line(at, _TOP - 6, at, bottom, _GRID, 1),
                  _text(at, _TOP - 10, f"{10**decade:,}", anchor="middle")]  # fmt: skip
    parts.append(_line(x(PROMISED_MS), _TOP - 6, x(PROMISED_MS), bottom, "#b00020", 1))
    parts.append(_text(x(PROMISED_MS) + 4, 34, "promised: 250"))
    for number, (name, lag, colour) in enumerate(rows):
        y = _TOP + _ROW * number + _ROW / 2
        parts += [
            _text(_LEFT - 10, y + 4, name, anchor="end"),
            _line(x(lag["p50"]), y, x(lag["p99"]), y, colour, 2),
            f'<circle cx="{x(lag["p50"]):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>',
            _text(x(lag["p99"]) + 8, y + 4, f"{lag['p50']:g} to {lag['p99']:g}"),
        ]
    words = " ".join(
        f"{name}: {lag['p50']} ms (p50), {lag['p99']} ms (p99)." for name, lag, _ in rows
    )
    width = _LEFT + _WIDTH + 110
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="title description" '
            f'font-family="sans-serif" font-size="12" fill="{_INK}">',
            '<title id="title">How late live messages are</title>',
            f'<desc id="description">{escape(words)}</desc>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )
