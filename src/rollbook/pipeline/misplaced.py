"""Members that are not in rows below one row of headers: the file is refused, or a note says so.

Such are rows above the headers, a second table beside the first, and a table that lies on its side.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook import places
from rollbook.errors import RowsAboveHeadersError, SecondTableError
from rollbook.languages import MOST_LISTED, listed, phrase
from rollbook.model import EVERYWHERE
from rollbook.pipeline import legends, owners
from rollbook.pipeline.cells import SEPARATORS, without
from rollbook.pipeline.columns import FULL_NAME, key, map_headers
from rollbook.pipeline.header import names_of, one_line
from rollbook.pipeline.id_numbers import check_digit_fits
from rollbook.pipeline.reading import Note
from rollbook.spreadsheets.workbook.worksheet import letters_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from rollbook.model import Scope
    from rollbook.pipeline.header import Header

#: So many rows with a number, in any column, are a table and not a line such as "Captured by".
_LEAST_ROWS: Final = 2
#: Columns that may hold the headers of a table that lies on its side.
_MOST_TITLE_COLUMNS: Final = 3
#: Cells of a row with an ID number that may be no member's, such as a lookup by number.
_MOST_BESIDE_NOBODY: Final = 2
_LIKE_ID: Final = re.compile(r"\s*'?\s*\d[\d\s./\u2013\u2014-]{12,40}'?\s*$")
_PLACES: Final = frozenset({"province", "municipality", "region", "ward", "voting_station"})
#: Cells of a row with a label and its value.
_LABEL_AND_VALUE: Final = 2
_WARD: Final = re.compile(
    r"\b(?:ward|wyk|iwadi)\s*(?:no|nr|number|nommer)?\.?\s*[:#-]?\s*(?:[0-9]{1,3}|[0-9]{8})\b",
    re.IGNORECASE,
)
#: Shorter texts such as EC and MP are also something else, and longer ones are no names.
_LEAST_NAME: Final = 3
_MOST_NAME: Final = 60
#: Without such a word, "George" and "Naledi" may be people.
_MUNICIPALITY: Final = re.compile(r"munisipal|municipal|metro|\bcity of\b|masipala", re.IGNORECASE)
_ID: Final = "id_number"
_NAMES: Final = frozenset({"firstname", "surname", FULL_NAME})


def check_above(above: pl.DataFrame, header: Header) -> None:
    """Refuse a table with members in the rows above its headers.

    Raises:
        RowsAboveHeadersError: there are ID numbers in them.
    """
    if above.is_empty():
        return
    # A hostile file has thousands of columns here, and hardly one of them a number.
    cells = [
        (row, column, text)
        for row, texts in enumerate(above.iter_rows())
        for column, text in enumerate(texts)
        if text and _LIKE_ID.match(text)
    ]
    are = _are_id_numbers(pl.Series("cell", [text for _, _, text in cells], pl.String))
    numbers = [(row, column) for (row, column, _), is_one in zip(cells, are, strict=True) if is_one]
    found = sorted({row for row, _ in numbers})
    id_column = header.id_column
    is_in_column = any(column == id_column for _, column in numbers)
    if not is_in_column and len(found) < _LEAST_ROWS:
        return
    rows = "Row" if len(found) == 1 else "Rows"
    listed_rows = ", ".join(str(row + 1) for row in found[:MOST_LISTED])
    more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    raise RowsAboveHeadersError(
        f"{rows} {listed_rows}{more} above the headers, which are in row {header.index + 1}, "
        f"{'holds' if len(found) == 1 else 'hold'} an ID number, so it is not clear what the "
        "cells there mean. Nothing was changed. Move the headers above all members, or send each "
        "table in a file of its own."
    )


def hold_people(rows: pl.DataFrame) -> bool:
    """Whether a row has an ID number with two other texts: a member, though no header says so."""
    for row in rows.iter_rows():
        filled = [text for cell in row if (text := one_line(cell))]
        numbers = [text for text in filled if _LIKE_ID.match(text)]
        if (
            numbers
            and len(filled) > _MOST_BESIDE_NOBODY
            and _are_id_numbers(pl.Series("cell", numbers, pl.String)).any()
        ):
            return True
    return False


def first_texts(rows: pl.DataFrame) -> list[str]:
    """The texts of the first row that isn't empty, which the sender probably regards as headers."""
    for row in rows.iter_rows():
        texts = [text for cell in row if (text := one_line(cell))]
        if texts:
            # Digits may be a member's data; headers have hardly any.
            return [text[:30] for text in texts if not any(c.isdigit() for c in text)]
    return []


def _are_id_numbers(cells: pl.Series) -> pl.Series:
    digits = without(pl.col("cell").str.strip_chars(" '"), SEPARATORS)
    return cells.to_frame("cell").select(check_digit_fits(digits)).to_series()


def repeated(header: Header) -> list[tuple[int, int]]:
    """The columns of ID number and names whose headers come twice, word for word: each and again.

    Empty where those of a person don't come twice.
    """
    names = header.names
    known = header.columns.known
    first: dict[str, int] = {}
    again: dict[str, int] = {}
    for column, (text, name) in enumerate(zip(header.texts, names, strict=True)):
        if text and name in known:
            seen = again if key(text) in first else first
            seen.setdefault(key(text), column)
    fields = {known[names[column]] for column in again.values()}
    if _ID not in fields or fields.isdisjoint(_NAMES):
        return []
    return [
        (first[text], column)
        for text, column in again.items()
        if known[names[column]] in {_ID, *_NAMES}
    ]


def check_beside(rows: pl.DataFrame, header: Header, pairs: Sequence[tuple[int, int]]) -> None:
    """Refuse rows that hold another person in the repeated columns; equal values are one table's.

    ``rows`` begin with the header's columns.

    Raises:
        SecondTableError: a cell differs from that under the same header before it.
    """
    for first, column in pairs:
        texts = _as_compared(rows.to_series(column))
        differs = texts.is_not_null() & texts.ne_missing(_as_compared(rows.to_series(first)))
        if not differs.any():
            continue
        start = min(column for _, column in pairs)
        before = next(before for before, column in pairs if column == start)
        raise SecondTableError(
            f"The headers of row {header.index + 1} come twice: column {letters_of(start)} is "
            f"'{header.texts[start][:30]}' again, as column {letters_of(before)} is. "
            "So there are two tables side by side, or a second person in each row. Nothing was "
            "changed. Put the second table below the first one, or give its columns headers of "
            "their own, such as 'Spouse ID Number'."
        )


def _as_compared(cells: pl.Series) -> pl.Series:
    text = pl.col("cell").str.strip_chars().str.to_lowercase()
    return cells.to_frame("cell").select(pl.when(text != "").then(text)).to_series()


def notes(
    rows: pl.DataFrame,
    header: Header,
    table_name: str = "",
    carried: Collection[str] = (),
    office: Scope = EVERYWHERE,
) -> Iterator[Note]:
    """What the first rows of a table say of it that its sender must check.

    ``carried`` are the fields of places that are read from lines between the members, and
    ``office`` is the sender's, whose place is that of rows without one.
    """
    told = {*carried, *_told_by_wards(rows, header)}
    said = _places_above(rows.head(header.index), header, table_name, told, office)
    if said:
        yield Note("place_above", values={"said": listed(said)})
    unread = _table_above(rows.head(header.index), header)
    if unread:
        yield Note("table_above", len(unread), {"n": len(unread), "rows": listed(unread)})
    names = header.names
    doubtful = [
        phrase("note.column_of_other.one", header=name[:30], owner=owner[:30])
        for name, owner, is_certain in owners.of_others(names, header.given)
        if not is_certain
    ]
    doubtful += [
        phrase("note.column_below_other.one", header=name[:30], owner=owner[:30])
        for name, owner in header.below_others
        if name in header.columns.known
    ]
    doubtful += [
        phrase("note.column_of_other.one", header=name[:30], owner=owner[:30])
        for name, owner in owners.of_organisations(rows.slice(header.index + 1), header)
    ]
    if doubtful:
        yield Note("column_of_other", values={"columns": listed(doubtful)})
    if document := owners.document_before(names, header.groups, header.given):
        name, owner = document
        yield Note("expiry_of_document", values={"header": name[:30], "owner": owner[:30]})
    apart = _set_apart(rows, header)
    if apart is not None:
        yield apart
    yield from legends.notes(rows, header)


def _places_above(
    above: pl.DataFrame,
    header: Header,
    table_name: str,
    carried: Collection[str],
    office: Scope,
) -> list[str]:
    """What the rows above the headers or the sheet's name say of a place that no column has.

    It is a label with its value, such as "Municipality: Emfuleni", a ward's number, or the name of
    a province or municipality that isn't the office's.
    """
    known = set(header.columns.known.values())
    wanted = _PLACES - known - set(carried)
    is_place = ("ward" in wanted and _WARD.search(table_name)) or _is_other_place(
        table_name, wanted, office
    )
    found = [f"'{table_name[:30]}'"] if is_place else []
    for row in above.iter_rows() if wanted else ():
        # A merged cell has its text in each of its columns.
        texts = list(dict.fromkeys(text for cell in row if (text := one_line(cell))))
        for text in texts:
            label, _, value = text.partition(":")
            if not value.strip() and (":" in text or len(texts) == _LABEL_AND_VALUE):
                value = texts[-1] if text == texts[0] and len(texts) > 1 else ""
            is_label = value.strip() and map_headers([label]).known.get(label) in wanted
            is_ward = "ward" in wanted and _WARD.search(text)
            # A label's value is said with it.
            is_name = text == texts[0] and _is_other_place(text, wanted, office)
            if is_label or is_ward or is_name:
                found.append(
                    f"'{label.strip()}: {value.strip()}'"[:60] if value else f"'{text[:60]}'"
                )
    return found


def _told_by_wards(rows: pl.DataFrame, header: Header) -> tuple[str, ...]:
    """The places that the column of wards tells as well, if it has codes of eight digits."""
    name = header.columns.header("ward")
    column = header.names.index(name) if name is not None else rows.width
    if column >= rows.width:
        return ()
    has_codes = rows.to_series(column).slice(header.index + 1).str.contains(r"^\s*[0-9]{8}\s*$")
    return ("province", "municipality") if has_codes.any() else ()


def _is_other_place(text: str, wanted: Collection[str], office: Scope) -> bool:
    """Whether a text names a province, or a municipality with that word, outside the office's."""
    if not _LEAST_NAME < len(text) < _MOST_NAME or "municipality" not in wanted:
        return False
    province = places.find_province(text)
    if province is not None and province.how == "known":
        return "province" in wanted and province.place.code != office.province
    found = places.find_municipality(text) if _MUNICIPALITY.search(text) else None
    return found is not None and found.how == "known" and found.place.name != office.municipality


def _table_above(above: pl.DataFrame, header: Header) -> list[int]:
    """The rows above the headers that are below other ones, which name people and no ID number."""
    found: list[int] = []
    is_below = False
    for number, row in enumerate(above.iter_rows(), start=1):
        texts = [text for cell in row if (text := one_line(cell))]
        fields = set(map_headers(texts, header.given).known.values())
        if _NAMES & fields and len(fields) > 1:
            is_below = True
        elif is_below and len(texts) > 1 and tuple(map(one_line, row)) != header.groups:
            found.append(number)
    return found


def _set_apart(rows: pl.DataFrame, header: Header) -> Note | None:
    """The note on columns that an empty column without a header sets apart from the ID numbers.

    They may be another table, such as a summary, whose values are no member's.
    """
    body = rows.slice(header.index + 1)
    texts = [*header.texts, *[""] * (body.width - len(header.texts))]
    filled = [
        bool(text) or (column < body.width and _has_text(body.to_series(column)))
        for column, text in enumerate(texts)
    ]
    known = header.columns.known
    names = names_of(texts)
    blocks: list[list[int]] = [[]]
    for column, is_filled in enumerate(filled):
        if is_filled:
            blocks[-1].append(column)
        elif blocks[-1]:
            blocks.append([])
    id_column = header.id_column
    apart = [
        column
        for block in blocks
        if id_column not in block
        for column in block
        if names[column] in known
    ]
    if not apart:
        return None
    columns = listed([f"'{texts[column][:30]}'" for column in apart])
    return Note("columns_apart", values={"columns": columns, "n": len(apart)})


def _has_text(cells: pl.Series) -> bool:
    return bool((cells.str.strip_chars() != "").any())


def lies_on_its_side(rows: pl.DataFrame) -> bool:
    """Whether one of the first columns holds headers, so that each column is a person."""
    for column in rows.get_columns()[:_MOST_TITLE_COLUMNS]:
        texts = [one_line(text).rstrip(":") for text in column]
        fields = set(map_headers([text for text in texts if text]).known.values())
        if "id_number" in fields and not fields.isdisjoint(_NAMES):
            return True
    return False
