"""Writes tables as text files in the dialects and encodings of people and programs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

    from benchmarks.corpus.grid import Grid, Value

#: UTF-16 with a byte order mark, and without one as ``utf-16-le``.
CODECS: Final = (
    "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-8-sig", "cp1252", "cp1252", "mac_roman", "cp850",
    "utf-16", "utf-16-le", "utf-16-be",
)  # fmt: skip
_DIALECTS: Final = (
    "standard", "standard", "standard", "all quoted", "backslashes", "single", "spaced", "careless",
    "wrapped",
)  # fmt: skip


def write(kind: str, grid: Grid, chance: Random, codec: str, oddities: list[str]) -> bytes:
    """The file's bytes; what is odd about it is added to the oddities."""
    delimiter = "\t" if kind == "tsv" else chance.choice(",,;;\t|")
    end = chance.choice(("\n", "\r\n", "\r\n", "\r"))
    dialect = chance.choice(_DIALECTS)
    rows = [[_text(value) for value in row] for row in grid.rows]
    if dialect == "careless" and any(
        delimiter in text or "\n" in text for row in rows for text in row
    ):
        dialect = "standard"
    oddities += [f"{dialect} {delimiter!r} {end!r}", codec]
    text = _DIALECT[dialect](rows, delimiter)
    lines = [text] if end == "\n" else [text.replace("\n", end)]
    if chance.random() < 0.08 and dialect != "wrapped":
        oddities.append("sep=")
        lines.insert(0, f"sep={delimiter}{end}")
    content = "".join(lines)
    draw = chance.random()
    if draw < 0.05:
        oddities.append("0x1A at the end")
        content += "\x1a"
    elif draw < 0.15:
        oddities.append("no line end at the end")
        content = content.removesuffix(end)
    elif draw < 0.2:
        oddities.append("empty lines at the end")
        content += end * 3
    return content.encode(
        codec, "replace" if codec in ("cp850", "mac_roman", "cp1252") else "strict"
    )


def _text(value: Value) -> str:
    if value is None:
        return ""
    assert isinstance(value, str | float)
    return f"{value:.0f}" if isinstance(value, float) else value


def _standard(rows: list[list[str]], delimiter: str, quoting: int = csv.QUOTE_MINIMAL) -> str:
    target = io.StringIO()
    csv.writer(target, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    return target.getvalue()


def _all_quoted(rows: list[list[str]], delimiter: str) -> str:
    return _standard(rows, delimiter, csv.QUOTE_ALL)


def _backslashes(rows: list[list[str]], delimiter: str) -> str:
    target = io.StringIO()
    csv.writer(
        target, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL, doublequote=False,
        escapechar="\\",
    ).writerows(rows)  # fmt: skip
    return target.getvalue()


def _single(rows: list[list[str]], delimiter: str) -> str:
    target = io.StringIO()
    plain = [[text.removeprefix("'") for text in row] for row in rows]
    csv.writer(
        target, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL, quotechar="'"
    ).writerows(plain)
    return target.getvalue()


def _spaced(rows: list[list[str]], delimiter: str) -> str:
    """A space after each delimiter, as people type it."""
    return "".join(f"{delimiter} ".join(map(_quoted, row)) + "\n" for row in rows)


def _quoted(text: str) -> str:
    if any(sign in text for sign in ',;\t|"\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _careless(rows: list[list[str]], delimiter: str) -> str:
    """Quotation marks as they are, where no cell holds a delimiter or a line end."""
    return "".join(delimiter.join(row) + "\n" for row in rows)


def _wrapped(rows: list[list[str]], delimiter: str) -> str:
    """Each line as a whole in quotation marks, as after a paste into one column."""
    lines = _standard([[text.replace("\n", " ") for text in row] for row in rows], delimiter)
    return "".join('"' + line.replace('"', '""') + '"\n' for line in lines.splitlines())


_DIALECT: Final = {
    "standard": _standard, "all quoted": _all_quoted, "backslashes": _backslashes,
    "single": _single, "spaced": _spaced, "careless": _careless, "wrapped": _wrapped,
}  # fmt: skip
