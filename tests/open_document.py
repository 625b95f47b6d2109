"""Writes OpenDocument spreadsheets (.ods and .fods) by hand, with what a sheet may say."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape, quoteattr

from tests.binary_workbook import MADE, BinarySheet, Formula

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OASIS: Final = "urn:oasis:names:tc:opendocument:xmlns"
_NAMES: Final = "".join(
    f' xmlns:{name}="{_OASIS}:{name}:1.0"' for name in ("office", "table", "text", "style")
) + (' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"')
TYPE: Final = "application/vnd.oasis.opendocument.spreadsheet"


def flat_document(sheets: Iterable[BinarySheet], *, is_1904: bool = False) -> bytes:
    """A spreadsheet in one XML file."""
    return _document("document", sheets, f' office:mimetype="{TYPE}"', is_1904=is_1904)


def open_document(
    sheets: Iterable[BinarySheet],
    parts: Mapping[str, bytes] | None = None,
    *,
    is_1904: bool = False,
) -> bytes:
    """A spreadsheet as an archive; ``parts`` are more of its parts, by name."""
    manifest = (
        f'<manifest:manifest xmlns:manifest="{_OASIS}:manifest:1.0"><manifest:file-entry '
        f'manifest:full-path="/" manifest:media-type="{TYPE}"/></manifest:manifest>'
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        contents = {
            "mimetype": TYPE.encode(),
            "content.xml": _document("document-content", sheets, is_1904=is_1904),
            "META-INF/manifest.xml": manifest.encode(),
            **(parts or {}),
        }
        for name, content in contents.items():
            packing = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, MADE), content, packing)
    return target.getvalue()


def _document(root: str, sheets: Iterable[BinarySheet], more: str = "", *, is_1904: bool) -> bytes:
    settings = (
        '<table:calculation-settings><table:null-date table:date-value="1904-01-01"/>'
        "</table:calculation-settings>"
        if is_1904
        else ""
    )
    styles = "".join(
        f'<style:style style:name="ta{int(shown)}" style:family="table"><style:table-properties '
        f'table:display="{str(shown).lower()}"/></style:style>'
        for shown in (False, True)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><office:{root}{_NAMES} office:version="1.3"{more}>'
        f"<office:automatic-styles>{styles}</office:automatic-styles><office:body>"
        f"<office:spreadsheet>{settings}{''.join(map(_sheet, sheets))}</office:spreadsheet>"
        f"</office:body></office:{root}>"
    ).encode()


def _sheet(sheet: BinarySheet) -> str:
    width = max(map(len, sheet.rows), default=1)
    columns = "".join(
        f"<table:table-column{_collapsed(n in sheet.hidden_columns)}/>" for n in range(width)
    )
    rows = "".join(
        f"<table:table-row{_collapsed(n + 1 in sheet.hidden_rows)}>{_cells(sheet, n)}"
        "</table:table-row>"
        for n in range(len(sheet.rows))
    )
    style = f"ta{int(not sheet.state)}"
    return (
        f'<table:table table:name={quoteattr(sheet.name)} table:style-name="{style}">'
        f'{columns}{rows}<table:table-row table:number-rows-repeated="1000"><table:table-cell '
        'table:number-columns-repeated="1024"/></table:table-row></table:table>'
    )


def _collapsed(is_hidden: bool) -> str:
    return ' table:visibility="collapse"' if is_hidden else ""


def _cells(sheet: BinarySheet, row: int) -> str:
    found = []
    for column, value in enumerate(sheet.rows[row]):
        spans = "".join(
            f' table:number-columns-spanned="{right - left + 1}"'
            f' table:number-rows-spanned="{bottom - top + 1}"'
            for top, bottom, left, right in sheet.merged
            if (top, left) == (row, column)
        )
        is_covered = any(
            top <= row <= bottom and left <= column <= right and (top, left) != (row, column)
            for top, bottom, left, right in sheet.merged
        )
        name = "covered-table-cell" if is_covered else "table-cell"
        found.append(f"<table:{name}{spans}{_value(value)}</table:{name}>")
    return "".join(found)


def _value(value: Any) -> str:
    formula = ""
    if isinstance(value, Formula):
        formula, value = ' table:formula="of:=1"', value.result
    if value is None:
        return f"{formula}>"
    if isinstance(value, bool):
        said = f'boolean" office:boolean-value="{str(value).lower()}"'
    elif isinstance(value, int | float):
        said = f'float" office:value="{value}"'
    elif isinstance(value, dt.date):
        said = f'date" office:date-value="{value.isoformat()}"'
    else:
        lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in value.split("\n"))
        error = ' calcext:value-type="error"' if value.startswith("#") else ""
        return f'{formula} office:value-type="string"{error}>{lines.replace(chr(9), "<text:tab/>")}'
    return f'{formula} office:value-type="{said}><text:p>shown otherwise</text:p>'
