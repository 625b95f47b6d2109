"""The parts of a workbook beside its sheets: the styles, the chart, the lists of what there is.

Names and orders of elements are those of ECMA-376 part 1 (SpreadsheetML, DrawingML) and part 2
(packaging).
"""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from rollbook.spreadsheets.workbook.cell_text import legal
from rollbook.spreadsheets.workbook.worksheet import Kind, RowStyles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
SHEET_NAMESPACE: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_DRAWING: Final = "http://schemas.openxmlformats.org/drawingml/2006"
_SHEET_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_DRAWING_TYPE: Final = "application/vnd.openxmlformats-officedocument"

HEADER_FILL: Final = "FF1F3864"


class Look(Enum):
    """How a cell looks that isn't a row's of a table."""

    PLAIN = "plain"
    HEADER = "header"
    TITLE = "title"
    LABEL = "label"
    #: A share from 0 to 1, shown in percent.
    PERCENT = "percent"
    DATETIME = "datetime"
    #: A text that stays inert when the cell is edited, such as one of the user's.
    INERT = "inert"


class BarChart(NamedTuple):
    """Horizontal bars beside the cells they show; all of it counted from row 1 and column A."""

    title: str
    #: The first and last row of the values, and the letters of the columns.
    first_row: int
    last_row: int
    names: str
    values: str
    #: The values there, stored in the chart for programs that don't calculate.
    bars: Sequence[tuple[str, int]]
    #: The left upper and right lower corner: column and row, counted from 0.
    corners: tuple[tuple[int, int], tuple[int, int]]


class Sheet(NamedTuple):
    """What the lists say of a sheet."""

    name: str
    #: The range of its filter, such as ``$A$1:$C$9``; None without one.
    filtered: str | None = None
    chart: BarChart | None = None
    is_hidden: bool = False


def look_styles() -> Mapping[Look, int]:
    """The index of the style of each look."""
    return {look: index for index, look in enumerate(Look)}


def row_styles(fills: Iterable[str]) -> RowStyles:
    """The index of each style of a table's cells, by the key of the row's colour."""
    first = len(Look)
    return {
        fill: {kind: first + row * len(Kind) + index for index, kind in enumerate(Kind)}
        for row, fill in enumerate((None, *fills))
    }


_KIND_STYLES: Final = {
    Kind.TEXT: 'numFmtId="49"',
    Kind.ACTIVE_TEXT: 'numFmtId="49" quotePrefix="1"',
    Kind.WHOLE: 'numFmtId="1"',
    Kind.REAL: 'numFmtId="2"',
    Kind.BOOLEAN: 'numFmtId="0"',
    Kind.DATE: 'numFmtId="164"',
    Kind.DATETIME: 'numFmtId="165"',
}
_LOOK_STYLES: Final = {
    Look.PLAIN: 'numFmtId="0" fontId="0" fillId="0"',
    # The titles of a table may be the user's.
    Look.HEADER: 'numFmtId="49" quotePrefix="1" fontId="1" fillId="2" applyFont="1" applyFill="1"',
    Look.TITLE: 'numFmtId="49" fontId="2" fillId="0" applyFont="1"',
    Look.LABEL: 'numFmtId="49" fontId="3" fillId="0" applyFont="1"',
    Look.PERCENT: 'numFmtId="166" fontId="0" fillId="0" applyNumberFormat="1"',
    Look.DATETIME: 'numFmtId="165" fontId="0" fillId="0" applyNumberFormat="1" applyAlignment="1"',
    Look.INERT: 'numFmtId="49" quotePrefix="1" fontId="0" fillId="0" applyNumberFormat="1"',
}

#: A moment is a single cell among texts, not part of a column of numbers.
_LOOK_ALIGNMENTS: Final = {Look.DATETIME: '<alignment horizontal="left"/>'}


def styles(fills: Mapping[str, str]) -> bytes:
    """``xl/styles.xml`` for the looks and for rows of these colours (ARGB by key)."""
    font = '<font>{}<sz val="{}"/>{}<name val="Calibri"/><family val="2"/></font>'
    fonts = [
        font.format("", 11, ""),
        font.format("<b/>", 11, '<color rgb="FFFFFFFF"/>'),
        font.format("<b/>", 16, ""),
        font.format("<b/>", 11, ""),
    ]
    solid = (
        '<fill><patternFill patternType="solid"><fgColor rgb="{}"/><bgColor indexed="64"/>'
        "</patternFill></fill>"
    )
    colours = [HEADER_FILL, *fills.values()]
    # The first two fills are the format's own.
    all_fills = [
        '<fill><patternFill patternType="none"/></fill>',
        '<fill><patternFill patternType="gray125"/></fill>',
        *(solid.format(colour) for colour in colours),
    ]
    formats = [
        f'<xf {_LOOK_STYLES[look]} borderId="0" xfId="0">{_LOOK_ALIGNMENTS.get(look, "")}</xf>'
        for look in Look
    ]
    for number in range(len(fills) + 1):
        fill = f'fillId="{number + 2}" applyFill="1"' if number else 'fillId="0"'
        formats += [
            f'<xf {_KIND_STYLES[kind]} fontId="0" {fill} borderId="0" xfId="0"'
            ' applyNumberFormat="1"/>'
            for kind in Kind
        ]
    return (
        f'{HEAD}<styleSheet xmlns="{SHEET_NAMESPACE}">'
        '<numFmts count="3"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
        '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/>'
        '<numFmt numFmtId="166" formatCode="0.0%"/></numFmts>'
        + _counted("fonts", fonts)
        + _counted("fills", all_fills)
        + _counted("borders", ["<border><left/><right/><top/><bottom/><diagonal/></border>"])
        + _counted("cellStyleXfs", ['<xf numFmtId="0" fontId="0" fillId="0" borderId="0"/>'])
        + _counted("cellXfs", formats)
        + _counted("cellStyles", ['<cellStyle name="Normal" xfId="0" builtinId="0"/>'])
        + "</styleSheet>"
    ).encode()


def small_parts(sheets: Sequence[Sheet], *, title: str, created: dt.datetime) -> dict[str, bytes]:
    """Every part but the sheets and the styles, by its name in the archive."""
    charts = [(number, sheet) for number, sheet in enumerate(sheets, start=1) if sheet.chart]
    parts = {
        "[Content_Types].xml": _content_types(len(sheets), [number for number, _ in charts]),
        "_rels/.rels": _relations(
            ("officeDocument", "xl/workbook.xml"),
            ("extended-properties", "docProps/app.xml"),
            (f"{_PACKAGE}/relationships/metadata/core-properties", "docProps/core.xml"),
        ),
        "docProps/app.xml": "<Properties xmlns="
        '"http://schemas.openxmlformats.org/officeDocument/2006/extended-properties">'
        "<Application>Rollbook</Application></Properties>",
        "docProps/core.xml": _core_properties(title, created),
        "xl/workbook.xml": _workbook(sheets),
        "xl/_rels/workbook.xml.rels": _relations(
            *(("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)),
            ("styles", "styles.xml"),
        ),
    }
    for number, sheet in charts:
        parts |= _chart_parts(number, sheet)
    return {name: (HEAD + text).encode() for name, text in parts.items()}


def _content_types(sheets: int, charts: Sequence[int]) -> str:
    overrides = {
        "/xl/workbook.xml": f"{_SHEET_TYPE}.sheet.main+xml",
        "/xl/styles.xml": f"{_SHEET_TYPE}.styles+xml",
        "/docProps/app.xml": f"{_DRAWING_TYPE}.extended-properties+xml",
        "/docProps/core.xml": "application/vnd.openxmlformats-package.core-properties+xml",
    }
    for number in range(1, sheets + 1):
        overrides[f"/xl/worksheets/sheet{number}.xml"] = f"{_SHEET_TYPE}.worksheet+xml"
    for number in charts:
        overrides[f"/xl/drawings/drawing{number}.xml"] = f"{_DRAWING_TYPE}.drawing+xml"
        overrides[f"/xl/charts/chart{number}.xml"] = f"{_DRAWING_TYPE}.drawingml.chart+xml"
    return (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        + "".join(
            f'<Override PartName="{name}" ContentType="{kind}"/>'
            for name, kind in overrides.items()
        )
        + "</Types>"
    )


def _relations(*targets: tuple[str, str]) -> str:
    """A list of relations; a kind without a colon is one of the office document's."""
    lines = (
        f'<Relationship Id="rId{number}" Target="{target}"'
        f' Type="{kind if ":" in kind else f"{RELATIONS}/{kind}"}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{"".join(lines)}</Relationships>'


def _core_properties(title: str, created: dt.datetime) -> str:
    return (
        f'<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<dc:title>{escape(legal(title))}</dc:title><dc:creator>Rollbook</dc:creator>"
        '<dcterms:created xsi:type="dcterms:W3CDTF">'
        f"{created.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}</dcterms:created></cp:coreProperties>"
    )


def _workbook(sheets: Sequence[Sheet]) -> str:
    listed = "".join(
        f'<sheet name={quoteattr(sheet.name)} sheetId="{number}" r:id="rId{number}"'
        + (' state="hidden"/>' if sheet.is_hidden else "/>")
        for number, sheet in enumerate(sheets, start=1)
    )
    names = "".join(
        f'<definedName name="_xlnm._FilterDatabase" localSheetId="{index}" hidden="1">'
        f"{escape(quoted(sheet.name))}!{sheet.filtered}</definedName>"
        for index, sheet in enumerate(sheets)
        if sheet.filtered
    )
    return (
        f'<workbook xmlns="{SHEET_NAMESPACE}" xmlns:r="{RELATIONS}">'
        f"<bookViews><workbookView/></bookViews><sheets>{listed}</sheets>"
        + (f"<definedNames>{names}</definedNames>" if names else "")
        + "</workbook>"
    )


def _chart_parts(number: int, sheet: Sheet) -> dict[str, str]:
    assert sheet.chart is not None
    return {
        f"xl/worksheets/_rels/sheet{number}.xml.rels": _relations(
            ("drawing", f"../drawings/drawing{number}.xml")
        ),
        f"xl/drawings/_rels/drawing{number}.xml.rels": _relations(
            ("chart", f"../charts/chart{number}.xml")
        ),
        f"xl/drawings/drawing{number}.xml": _drawing(sheet.chart),
        f"xl/charts/chart{number}.xml": _bar_chart(sheet.name, sheet.chart),
    }


def _drawing(chart: BarChart) -> str:
    corners = "".join(
        f"<xdr:{tag}><xdr:col>{column}</xdr:col><xdr:colOff>0</xdr:colOff>"
        f"<xdr:row>{row}</xdr:row><xdr:rowOff>0</xdr:rowOff></xdr:{tag}>"
        for tag, (column, row) in zip(("from", "to"), chart.corners, strict=True)
    )
    return (
        f'<xdr:wsDr xmlns:xdr="{_DRAWING}/spreadsheetDrawing" xmlns:a="{_DRAWING}/main">'
        f"<xdr:twoCellAnchor>{corners}"
        f'<xdr:graphicFrame macro=""><xdr:nvGraphicFramePr><xdr:cNvPr id="2" name="Chart 1"'
        f" descr={quoteattr(legal(chart.title))}/>"
        "<xdr:cNvGraphicFramePr/></xdr:nvGraphicFramePr>"
        '<xdr:xfrm><a:off x="0" y="0"/><a:ext cx="0" cy="0"/></xdr:xfrm><a:graphic>'
        f'<a:graphicData uri="{_DRAWING}/chart"><c:chart xmlns:c="{_DRAWING}/chart"'
        f' xmlns:r="{RELATIONS}" r:id="rId1"/></a:graphicData></a:graphic></xdr:graphicFrame>'
        "<xdr:clientData/></xdr:twoCellAnchor></xdr:wsDr>"
    )


def _bar_chart(sheet_name: str, chart: BarChart) -> str:
    def cells(letters: str) -> str:
        place = f"${letters}${chart.first_row}:${letters}${chart.last_row}"
        return f"<c:f>{escape(quoted(sheet_name))}!{place}</c:f>"

    def points(values: Iterable[object]) -> str:
        listed = "".join(
            f'<c:pt idx="{index}"><c:v>{escape(legal(str(value)))}</c:v></c:pt>'
            for index, value in enumerate(values)
        )
        return f'<c:ptCount val="{len(chart.bars)}"/>{listed}'

    names, values = zip(*chart.bars, strict=True)
    return (
        f'<c:chartSpace xmlns:c="{_DRAWING}/chart" xmlns:a="{_DRAWING}/main"'
        f' xmlns:r="{RELATIONS}"><c:roundedCorners val="0"/><c:chart><c:title><c:tx><c:rich>'
        '<a:bodyPr/><a:p><a:pPr><a:defRPr sz="1200"/></a:pPr><a:r><a:rPr sz="1200"/>'
        f"<a:t>{escape(legal(chart.title))}</a:t></a:r></a:p></c:rich></c:tx>"
        '<c:overlay val="0"/></c:title><c:autoTitleDeleted val="0"/><c:plotArea><c:layout/>'
        '<c:barChart><c:barDir val="bar"/><c:grouping val="clustered"/>'
        '<c:varyColors val="0"/><c:ser><c:idx val="0"/><c:order val="0"/>'
        f'<c:spPr><a:solidFill><a:srgbClr val="{HEADER_FILL[2:]}"/></a:solidFill></c:spPr>'
        '<c:invertIfNegative val="0"/><c:dLbls><c:showLegendKey val="0"/><c:showVal val="1"/>'
        '<c:showCatName val="0"/><c:showSerName val="0"/><c:showPercent val="0"/>'
        '<c:showBubbleSize val="0"/></c:dLbls>'
        f"<c:cat><c:strRef>{cells(chart.names)}<c:strCache>{points(names)}</c:strCache>"
        f"</c:strRef></c:cat><c:val><c:numRef>{cells(chart.values)}<c:numCache>"
        f"<c:formatCode>General</c:formatCode>{points(values)}</c:numCache></c:numRef></c:val>"
        '</c:ser><c:gapWidth val="60"/><c:axId val="1"/><c:axId val="2"/></c:barChart>'
        '<c:catAx><c:axId val="1"/><c:scaling><c:orientation val="maxMin"/></c:scaling>'
        '<c:delete val="0"/><c:axPos val="l"/><c:majorTickMark val="none"/>'
        '<c:minorTickMark val="none"/><c:tickLblPos val="low"/><c:crossAx val="2"/></c:catAx>'
        '<c:valAx><c:axId val="2"/><c:scaling><c:orientation val="minMax"/><c:min val="0"/>'
        '</c:scaling><c:delete val="1"/><c:axPos val="t"/><c:numFmt formatCode="General"'
        ' sourceLinked="0"/><c:majorTickMark val="none"/><c:minorTickMark val="none"/>'
        '<c:tickLblPos val="nextTo"/><c:crossAx val="1"/></c:valAx></c:plotArea>'
        '<c:plotVisOnly val="1"/></c:chart></c:chartSpace>'
    )


def _counted(tag: str, children: Sequence[str]) -> str:
    return f'<{tag} count="{len(children)}">{"".join(children)}</{tag}>'


def quoted(sheet_name: str) -> str:
    """A sheet's name as a reference has it."""
    return "'" + sheet_name.replace("'", "''") + "'"
