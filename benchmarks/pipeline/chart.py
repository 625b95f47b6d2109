"""The picture: seconds of each contestant as bars, and below them where Rollbook's go."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.pipeline.results import Results

OURS, _PEER, _LIMIT, _INK, _GRID = "#0b5fa5", "#767676", "#4c8c2b", "#1f1f1f", "#d9d9d9"
_ROW, _HEAD, _LABELS, _WIDTH = 26, 48, 220, 860
#: The right end is kept for the figure beside the longest bar.
_FIGURE = 90


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and the figure beside it."""

    label: str
    seconds: float
    figure: str
    colour: str


def draw(results: Results) -> str:
    """The picture as SVG, with a description for those who can't see it."""
    panels = [_contest(results["rows"], here) for here in results["tables"]]
    panels.append(_stages(results["tables"][0]))
    return picture("The pipeline beside its peers, in seconds", panels)


def picture(title: str, panels: list[tuple[str, list[Bar]]]) -> str:
    """Panels of bars below each other, as SVG with a description."""
    parts: list[str] = []
    top = 0
    for heading, bars in panels:
        parts += _panel(top, heading, bars)
        top += _HEAD + _ROW * len(bars) + 12
    words = " ".join(
        f"{heading}: {'; '.join(f'{bar.label} {bar.figure}' for bar in bars)}."
        for heading, bars in panels
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
            f'width="{_WIDTH}" height="{top}" role="img" aria-labelledby="title description" '
            f'font-family="sans-serif" font-size="12" fill="{_INK}">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(words)}</desc>',
            f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _contest(rows: int, here: dict[str, Any]) -> tuple[str, list[Bar]]:
    ours = here["contestants"][0]["seconds"]
    bars = [
        Bar(
            entry["name"],
            entry["seconds"],
            f"{entry['seconds']:.3g} s" + (f" ({entry['seconds'] / ours:.0f}x)" if place else ""),
            _PEER if place else OURS,
        )
        for place, entry in enumerate(here["contestants"])
    ]
    limit = here["raw"]["seconds"]
    bars.append(Bar("the limit: parse and COPY", limit, f"{limit:.3g} s", _LIMIT))
    return f"{rows:,} rows into {here['members']:,} members, seconds: shorter is better", bars


def _stages(here: dict[str, Any]) -> tuple[str, list[Bar]]:
    ours, raw = here["contestants"][0], here["raw"]
    bars = [
        Bar(f"rollbook: {stage}", seconds, f"{seconds:.2f} s", OURS)
        for stage, seconds in ours["stages"].items()
        if seconds
    ]
    rest = ours["seconds"] - sum(ours["stages"].values())
    bars.append(Bar("rollbook: around them", rest, f"{rest:.2f} s", OURS))
    bars += [
        Bar(f"the limit: {name}", raw[step], f"{raw[step]:.2f} s", _LIMIT)
        for step, name in (("parse", "parse"), ("copy", "COPY"))
    ]
    return f"Where Rollbook's seconds go ({here['members']:,} members)", bars


def _panel(top: float, title: str, bars: list[Bar]) -> list[str]:
    longest = max(bar.seconds for bar in bars)
    bottom = top + _HEAD + _ROW * len(bars)
    parts = [
        f'<text x="12" y="{top + 26}" font-weight="bold">{escape(title)}</text>',
        _line(_LABELS, top + _HEAD - 6, _LABELS, bottom, _GRID, 1),
    ]
    for row, bar in enumerate(bars):
        middle = top + _HEAD + _ROW * row + _ROW / 2
        end = _LABELS + max(1.0, (_WIDTH - _LABELS - _FIGURE) * bar.seconds / longest)
        weight = ' font-weight="bold"' if bar.colour == OURS else ""
        parts += [
            f'<text x="{_LABELS - 10}" y="{middle + 4}" text-anchor="end"{weight}>'
            f"{escape(bar.label)}</text>",
            _line(_LABELS, middle, end, middle, bar.colour, 14),
            f'<text x="{end + 7:.1f}" y="{middle + 4}"{weight}>{escape(bar.figure)}</text>',
        ]
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )
