"""Writes binary workbooks (.xlsb), which no library does: as few records as LibreOffice opens."""

from __future__ import annotations

import datetime as dt
import io
import struct
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_KIND: Final = "application/vnd.ms-excel"
ERRORS: Final = {"#NULL!": 0, "#DIV/0!": 7, "#VALUE!": 15, "#REF!": 23, "#N/A": 42}
MADE: Final = (2026, 11, 24, 8, 0, 0)


@dataclass
class BinarySheet:
    """A sheet: rows of values, where a ``Formula`` is a formula with its result."""

    name: str
    rows: Sequence[Sequence[Any]]
    state: int = 0
    hidden_rows: Sequence[int] = ()
    hidden_columns: Sequence[int] = ()
    merged: Sequence[tuple[int, int, int, int]] = ()


@dataclass
class Formula:
    """A formula, of which the result is all that counts here."""

    result: Any


@dataclass
class Short:
    """A value in a cell without a column of its own: it follows the last one."""

    value: Any


@dataclass
class Shown:
    """A value in a cell with one of the workbook's own formats, by its number from 0 on."""

    value: Any
    format: int


@dataclass
class _Texts:
    found: list[str] = field(default_factory=list)

    def index(self, text: str) -> int:
        if text not in self.found:
            self.found.append(text)
        return self.found.index(text)


def binary_workbook(
    sheets: Iterable[BinarySheet], *, is_1904: bool = False, formats: Sequence[str] = ()
) -> bytes:
    """A workbook of these sheets, with formats for ``Shown`` values."""
    texts = _Texts()
    parts: dict[str, bytes] = {}
    bundle, relations = [], []
    for number, sheet in enumerate(sheets, start=1):
        parts[f"xl/worksheets/sheet{number}.bin"] = _sheet(sheet, texts, is_1904=is_1904)
        bundle.append(
            record(156, struct.pack("<2I", sheet.state, number), text(f"rId{number}"),
                   text(sheet.name))
        )  # fmt: skip
        relations.append((f"rId{number}", "worksheet", f"worksheets/sheet{number}.bin"))
    relations += [("rId98", "styles", "styles.bin"), ("rId99", "sharedStrings",
                                                      "sharedStrings.bin")]  # fmt: skip
    properties = record(153, struct.pack("<2I", int(is_1904), 0), text(""))
    parts["xl/workbook.bin"] = b"".join(
        [record(131), properties, record(143), *bundle, record(144), record(132)]
    )
    items = [record(19, b"\0", text(one)) for one in texts.found]
    count = struct.pack("<2I", len(items), len(items))
    parts["xl/sharedStrings.bin"] = b"".join([record(159, count), *items, record(160)])
    parts["xl/styles.bin"] = _styles(formats)
    parts["_rels/.rels"] = _relations([("rId1", "officeDocument", "xl/workbook.bin")])
    parts["xl/_rels/workbook.bin.rels"] = _relations(relations)
    overrides = "".join(
        f'<Override PartName="/{name}" ContentType="{_KIND}.{kind}"/>'
        for name in parts
        if name.endswith(".bin")
        for kind in [
            "sheet.binary.macroEnabled.main" if name.endswith("workbook.bin")
            else "worksheet" if "worksheets" in name
            else name.removeprefix("xl/").removesuffix(".bin")
        ]
    )  # fmt: skip
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
        f'"application/vnd.openxmlformats-package.relationships+xml"/>{overrides}</Types>'
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"[Content_Types].xml": types.encode(), **parts}.items():
            archive.writestr(zipfile.ZipInfo(name, MADE), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def record(kind: int, *contents: bytes) -> bytes:
    """A record: its kind and its length, both in as few bytes as they need."""
    content = b"".join(contents)
    head = [kind] if kind < 0x80 else [kind & 0x7F | 0x80, kind >> 7]
    length = len(content)
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*head, length]) + content


def text(content: str) -> bytes:
    """A text with its length before it."""
    encoded = content.encode("utf-16-le")
    return struct.pack("<I", len(encoded) // 2) + encoded


def _sheet(sheet: BinarySheet, texts: _Texts, *, is_1904: bool) -> bytes:
    last_row, last_column = len(sheet.rows) - 1, max(map(len, sheet.rows), default=1) - 1
    found = [record(129), record(148, struct.pack("<4I", 0, max(last_row, 0), 0, last_column))]
    if sheet.hidden_columns:
        found += [record(390)]
        found += [record(60, struct.pack("<4IH", n, n, 2304, 0, 1)) for n in sheet.hidden_columns]
        found += [record(391)]
    found.append(record(145))
    for number, row in enumerate(sheet.rows):
        hidden = 0x10 if number + 1 in sheet.hidden_rows else 0
        found.append(record(0, struct.pack("<2IH3BI", number, 0, 300, 0, hidden, 0, 0)))
        found += [
            _cell(column, value, texts, is_1904=is_1904)
            for column, value in enumerate(row)
            if value is not None
        ]
    found.append(record(146))
    if sheet.merged:
        found.append(record(177, struct.pack("<I", len(sheet.merged))))
        found += [record(176, struct.pack("<4I", *area)) for area in sheet.merged]
        found.append(record(178))
    return b"".join([*found, record(130)])


def _cell(column: int, value: Any, texts: _Texts, *, is_1904: bool) -> bytes:
    is_formula, is_short = isinstance(value, Formula), isinstance(value, Short)
    if isinstance(value, Formula):
        value = value.result
    elif isinstance(value, Short):
        value = value.value
    style = 0
    if isinstance(value, Shown):
        style, value = 2 + value.format, value.value
    elif isinstance(value, dt.date):
        value = float((value - dt.date(1904 if is_1904 else 1900, 1, 1)).days)
        value += 0 if is_1904 else 2
        style = 1
    place = b"" if is_short else struct.pack("<I", column)
    head = place + struct.pack("<I", style)
    # What follows a result: how it is calculated, of which there is nothing here.
    rest = struct.pack("<H2I", 0, 0, 0) if is_formula else b""
    kind, content = _value(value, texts, is_formula=is_formula)
    if is_short:
        kind += 11
    return record(kind, head, content, rest)


def _value(value: Any, texts: _Texts, *, is_formula: bool) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return (10 if is_formula else 4), bytes([value])
    if isinstance(value, int) and not is_formula and abs(value) < 1 << 29:
        return 2, struct.pack("<i", value << 2 | 2)
    if isinstance(value, int | float):
        return (9 if is_formula else 5), struct.pack("<d", value)
    if value in ERRORS:
        return (11 if is_formula else 3), bytes([ERRORS[value]])
    if is_formula:
        return 8, text(value)
    return 7, struct.pack("<I", texts.index(value))


def _styles(own: Sequence[str]) -> bytes:
    def styles(kind: int, *formats: int) -> list[bytes]:
        xfs = [record(47, struct.pack("<8H", 0, number, 0, 0, 0, 0, 0, 0)) for number in formats]
        return [record(kind, struct.pack("<I", len(xfs))), *xfs, record(kind + 1)]

    codes = dict(enumerate(["dd/mm/yyyy", *own], start=170))
    formats = [record(44, struct.pack("<H", number), text(code)) for number, code in codes.items()]
    count = record(615, struct.pack("<I", len(formats)))
    all_styles = styles(617, 0, *codes)
    return b"".join([record(278), count, *formats, record(616), *all_styles, record(279)])


def _relations(all_of_them: Sequence[tuple[str, str, str]]) -> bytes:
    lines = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, kind, target in all_of_them
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{lines}</Relationships>'.encode()
