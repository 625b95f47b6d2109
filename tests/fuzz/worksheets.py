"""The parts of a workbook, written in all the ways that are allowed and some that aren't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import random

_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_DIMENSIONS: Final = (
    "", "", "A1", "A1:C4", "A1:XFD1048576", "A1:A99999999999", "XFD1048576", "C4:A1", "A0:B0", "x",
)  # fmt: skip
_ODD_REFERENCES: Final = (
    "A1", "XFD1048576", "XFE1", "A0", "A1048577", "ZZZZZZ1", "1A", "", "$B$2", "A-1", "b2",
    "A99999999999999999999",
)  # fmt: skip
_NUMBERS: Final = (
    "0", "1", "-1", "8001015009087", "8001015009087.0", "8.001015009087E12", "1e308", "1e999",
    "NaN",
    "", "x", "45000.5", "-45000", "2958466", "99999999999", "0x10", "1_0", " 1 ", "1,5", "00012",
    "0.1234567890123", "9" * 400,
)  # fmt: skip
_SIGNS: Final = (
    "&#0;", "&#x1F600;", "&#xD800;", "&#x110000;", "&bogus;", "&amp;amp;", "<![CDATA[<b>]]>",
    "<!-- -->", "_x0041_", "_x0000_", "_xD83D_",
)  # fmt: skip
_STYLES: Final = ("", "", "", ' s="1"', ' s="3"', ' s="99"', ' s="-1"')
_NAMES: Final = ("Sheet1", "=1+1", "&lt;b&gt;", "", "x" * 500, "a&#10;b")
_CODES: Final = (
    "yyyy-mm-dd", "[h]:mm:ss", "0.00", "@", '"d"0', "[$-409]d", "\\d", "[red]", "", "yy" * 200,
)  # fmt: skip
_TYPES: Final = ("s", "s", "s", "inlineStr", "inlineStr", "str", "n", "b", "e", "d", "x", "")


def sheet_parts(rng: random.Random, rows: list[list[str]]) -> dict[str, bytes]:
    """The parts of a workbook that has the rows, or what an odd writer makes of them."""
    is_odd = rng.random() < 0.5
    writer = _Writer(rng, is_odd=is_odd)
    sheet = writer.sheet(rows)
    return {
        "[Content_Types].xml": _content_types(),
        "_rels/.rels": _relationships(("rId1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": _workbook(rng, is_odd=is_odd),
        "xl/_rels/workbook.xml.rels": _relationships(
            ("rId1", "worksheet", "worksheets/sheet1.xml"),
            ("rId2", "styles", "styles.xml"),
            ("rId3", "sharedStrings", "sharedStrings.xml"),
        ),
        "xl/worksheets/sheet1.xml": sheet.encode(errors="replace"),
        "xl/styles.xml": _styles(rng),
        "xl/sharedStrings.xml": writer.shared().encode(errors="replace"),
    }


class _Writer:
    """Writes a sheet and gathers its shared texts."""

    def __init__(self, rng: random.Random, *, is_odd: bool) -> None:
        self._rng = rng
        self._is_odd = is_odd
        self._texts: list[str] = []
        self._has_references = rng.random() < 0.8
        self._prefix = rng.choice(("", "", "", "x:"))

    def sheet(self, rows: list[list[str]]) -> str:
        rng, p = self._rng, self._prefix
        dimension = rng.choice(_DIMENSIONS)
        lines = [self._row(number, row) for number, row in enumerate(rows, 1)]
        if self._is_odd and rng.random() < 0.3:
            rng.shuffle(lines)
        said = f'<{p}dimension ref="{dimension}"/>' if dimension else ""
        name = f'xmlns:x="{_MAIN}"' if p else f'xmlns="{_MAIN}"'
        area = rng.choice(("A1:C2", "A2:A9", "B3:XFD1048576", "C4:A1", "A0:B0", "D5:E5"))
        merged = f'<{p}mergeCells><{p}mergeCell ref="{area}"/></{p}mergeCells>'
        more = rng.choice(("", "", merged, merged * 300))
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><{p}worksheet {name}>{said}'
            f"<{p}sheetData>{''.join(lines)}</{p}sheetData>{more}</{p}worksheet>"
        )

    def shared(self) -> str:
        count = self._rng.choice((len(self._texts), 0, 4_000_000_000, -1))
        items = "".join(f"<si>{self._text(text)}</si>" for text in self._texts)
        return f'<sst xmlns="{_MAIN}" count="{count}" uniqueCount="{count}">{items}</sst>'

    def _row(self, number: int, cells: list[str]) -> str:
        rng, p = self._rng, self._prefix
        if self._is_odd and rng.random() < 0.05:
            number = rng.choice((0, 1, -1, number + 5000, 1048576, 1048577, 2**32))
        said = f' r="{number}"' if self._has_references else ""
        said += rng.choice(("", "", "", ' hidden="1"'))
        content = "".join(self._cell(number, column, cell) for column, cell in enumerate(cells))
        return f"<{p}row{said}>{content}</{p}row>"

    def _cell(self, number: int, column: int, text: str) -> str:
        rng, p = self._rng, self._prefix
        place = (
            f"{chr(65 + column % 26)}{number}"
            if column < 26
            else f"A{chr(65 + column % 26)}{number}"
        )
        if self._is_odd and rng.random() < 0.03:
            place = rng.choice(_ODD_REFERENCES)
        at = f' r="{place}"' if self._has_references else ""
        kind = rng.choice(_TYPES) if self._is_odd else rng.choice(("s", "inlineStr", "str"))
        style = (
            rng.choice(("", "", "", ' s="1"', ' s="3"', ' s="99"', ' s="-1"'))
            if self._is_odd
            else ""
        )
        said = f' t="{kind}"' if kind else ""
        if kind == "inlineStr":
            return f"<{p}c{at}{style}{said}><{p}is>{self._text(text, p)}</{p}is></{p}c>"
        if kind == "s":
            value = str(len(self._texts))
            self._texts.append(text)
            if self._is_odd and rng.random() < 0.03:
                value = rng.choice(("-1", "4294967296", "99999", "x", "", "1.5", " 1"))
        elif kind in {"n", ""}:
            value = rng.choice(_NUMBERS)
        else:
            value = self._escaped(text)
        formula = f"<{p}f>A1+1</{p}f>" if rng.random() < 0.02 else ""
        if formula and rng.random() < 0.5:
            return f"<{p}c{at}{style}{said}>{formula}</{p}c>"
        return f"<{p}c{at}{style}{said}>{formula}<{p}v>{value}</{p}v></{p}c>"

    def _text(self, text: str, prefix: str = "") -> str:
        rng, p = self._rng, prefix
        space = rng.choice(("", ' xml:space="preserve"'))
        content = f"<{p}t{space}>{self._escaped(text)}</{p}t>"
        if rng.random() < 0.1:
            return f"<{p}r>{content}</{p}r><{p}r><{p}rPr/><{p}t> and more</{p}t></{p}r>"
        if rng.random() < 0.05:
            return f"{content}<{p}rPh><{p}t>aloud</{p}t></{p}rPh>"
        return content

    def _escaped(self, text: str) -> str:
        if self._is_odd and self._rng.random() < 0.03:
            return self._rng.choice(_SIGNS)
        if self._is_odd and self._rng.random() < 0.05:
            return escape(text)
        # Writers leave out what XML can't hold.
        return escape("".join(c for c in text if c >= " " or c in "\t\n\r")).replace("\r", "&#13;")


def _content_types() -> bytes:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    overrides = "".join(
        f'<Override PartName="/xl/{part}" ContentType="{kind}.{name}+xml"/>'
        for part, name in (
            ("workbook.xml", "sheet.main"),
            ("worksheets/sheet1.xml", "worksheet"),
            ("styles.xml", "styles"),
            ("sharedStrings.xml", "sharedStrings"),
        )
    )
    return (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        f'ContentType="application/xml"/>{overrides}</Types>'
    ).encode()


def _relationships(*all_of_them: tuple[str, str, str]) -> bytes:
    lines = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, kind, target in all_of_them
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{lines}</Relationships>'.encode()


def _workbook(rng: random.Random, *, is_odd: bool) -> bytes:
    name = (
        rng.choice(("Sheet1", "=1+1", "&lt;b&gt;", "", "x" * 500, "a&#10;b"))
        if is_odd
        else "Members"
    )
    date = rng.choice(("", "", ' date1904="1"', ' date1904="maybe"')) if is_odd else ""
    return (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><workbookPr{date}/><sheets>'
        f'<sheet name="{name}" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ).encode()


def _styles(rng: random.Random) -> bytes:
    formats = (
        "yyyy-mm-dd",
        "[h]:mm:ss",
        "0.00",
        "@",
        '"d"0',
        "[$-409]d",
        "\\d",
        "[red]",
        "",
        "yy" * 200,
    )
    code = rng.choice(formats).replace('"', "&quot;")
    numbers = "".join(f'<xf numFmtId="{n}"/>' for n in (0, 14, 164, rng.choice((22, 46, 999, 49))))
    return (
        f'<styleSheet xmlns="{_MAIN}"><numFmts count="1"><numFmt numFmtId="164" '
        f'formatCode="{code}"/></numFmts><cellXfs count="4">{numbers}</cellXfs></styleSheet>'
    ).encode()
