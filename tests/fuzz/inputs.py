"""Files made of a number: by a grammar that knows what readers stumble over, and changed at random.

The same number makes the same file in every process, so a finding is its number.
"""

from __future__ import annotations

import datetime as dt
import io
import random
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rollbook.spreadsheets.kinds import kind_of
from tests.binary_workbook import BinarySheet, Formula, binary_workbook
from tests.files import id_number
from tests.fuzz.worksheets import sheet_parts
from tests.open_document import flat_document, open_document

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN: Final = Path(__file__).parent.parent / "golden"
HEADERS: Final = (
    "ID Number", "id no", "Firstname", "First Name(s)", "Surname", "Cell Number", "Province",
    "Municipality", "Ward", "Date Joined", "Last Payment", "Email", "Gender", "Age", "Status",
    "Membership Amount", "Voting District", "", " ", "*", "^[$", "^.*$", "row_number", "Errors",
    "=1+1", "Column 1", "Column 2", "ID Number", "Firstname", "\N{CYRILLIC SMALL LETTER A}",
    "x" * 300,
)  # fmt: skip
CELLS: Final = (
    "", " ", "Thandi", "O'Brien", '"', '""', '5"', "=1+1", "+27821234567", "0821234567", "-1", "@x",
    "8001015009087", "800101 5009 087", "8.00101500909E+12", "8001015009087.0", "80010150090871",
    "0", "1", "-0.0", "1e308", "1e999", "NaN", "inf", "TRUE", "#REF!", "9" * 400, "0" * 13,
    "2024-02-30", "31/12/1999", "01.02.03", "45000", "2958466", "-1.5", "1900-02-29 00:00:00",
    "Gauteng", "KwaZulu-Natal", "M", "female", "22222222", "79800001", "a@b.c", "R 1 234,50",
    "\x00", "\x01", "\x1b[31m", "\t", "\r", "\n", "a\r\nb", "a\nb", "\u202e", "\ufeff", "\ufffe",
    "_x000D_", "_x0000_", "<b>&amp;</b>", "]]>", "'; DROP TABLE members; --", "e\u0301" * 40,
    "\U0001f600", "\U0010ffff", "y" * 5000, "a,b", "a;b", "\\N", "\\.",
)  # fmt: skip
TEXT_ENCODINGS: Final = (
    "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-7",
    "utf-32", "mac-roman", "cp850",
)  # fmt: skip
#: Bytes that change what follows, put in where nobody expects them.
_BITS: Final = (
    b"\x00", b"\xff", b"\n", b"\r", b'"', b",", b"<", b">", b"&", b"'", b"]]>", b"<!--", b"<c>",
    b"</row>",
    b"PK\x03\x04", b"PK\x05\x06", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff",
    b'"\n"',
    b"&#0;", b"&#x110000;", b"&#xD800;", b'r="A1"', b't="s"', b"99999999999999999999", b"-1",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Input:
    """A file and what its name says."""

    kind: str
    content: bytes


def make(seed: int) -> Input:
    """The file of this number."""
    rng = random.Random(seed)
    way = rng.choices(
        (
            _csv,
            _changed_csv,
            _xlsx,
            _changed_part,
            _changed_archive,
            _changed_golden,
            _other,
            _changed_other,
        ),
        (20, 10, 20, 15, 10, 10, 8, 12),
    )[0]
    return way(rng)


def table(rng: random.Random) -> list[list[str]]:
    """Rows of cells, most of them with a header row that has a column of ID numbers."""
    width = rng.choice((1, 2, 3, 5, 8, 12))
    headers = ["ID Number", "Firstname", "Surname", *rng.choices(HEADERS, k=width)]
    if rng.random() < 0.2:
        rng.shuffle(headers)
        headers = headers[: rng.randint(1, len(headers))]
    rows = [[_cell(rng)] for _ in range(rng.choice((0, 0, 0, 1, 3, 31)))]
    rows.append(headers)
    for _ in range(rng.choice((0, 1, 3, 10, 40))):
        number = id_number(rng.randrange(100)) if rng.random() < 0.7 else _cell(rng)
        cells = [number, *(_cell(rng) for _ in headers[1:])]
        if rng.random() < 0.1:
            cells = cells[: rng.randint(0, len(cells))] + [_cell(rng)] * rng.choice((0, 0, 1, 40))
        rows.append(cells)
    return rows


def _cell(rng: random.Random) -> str:
    return rng.choice(CELLS) if rng.random() < 0.9 else rng.choice(CELLS) + rng.choice(CELLS)


def _csv(rng: random.Random) -> Input:
    delimiter, end = rng.choice(",,,;;\t|"), rng.choice(("\n", "\n", "\r\n", "\r"))
    is_careless = rng.random() < 0.3
    mark, doubled = rng.choice((('"', '""'),) * 4 + (('"', '\\"'), ("'", "''"), ('"', '"')))
    between = delimiter + rng.choice(("", "", "", " "))
    is_all = rng.random() < 0.2

    def quoted(cell: str) -> str:
        if is_careless and rng.random() < 0.5:
            return cell
        needs = is_all or set(cell) & set("\"',;\t|\r\n")
        return mark + cell.replace(mark, doubled) + mark if needs else cell

    lines = [between.join(map(quoted, row)) for row in table(rng)]
    if rng.random() < 0.1:  # headers again, and other ones
        lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
        lines.append(between.join(rng.choices(HEADERS, k=5)))
    if rng.random() < 0.05:  # each line as one cell
        lines = ['"' + line.replace('"', '""') + '"' for line in lines]
    if rng.random() < 0.05:
        lines.insert(0, f"sep={delimiter}")
    text = end.join(lines)
    text += rng.choice(("", end, end * 3, '"', "\x1a", "\x00" * 5, "\x00" * 600))
    if rng.random() < 0.1:  # quotes that end in the middle of a cell, with much inside
        inside = delimiter * rng.choice((300, 1_500, 15_000))
        text += f'"{inside}"x{end}' * rng.choice((1, 40)) + rng.choice(("", '"'))
    return Input("csv", text.encode(rng.choice(TEXT_ENCODINGS), errors="replace"))


def _changed_csv(rng: random.Random) -> Input:
    return Input("csv", changed(rng, _csv(rng).content))


def _xlsx(rng: random.Random) -> Input:
    return Input("xlsx", packed(rng, sheet_parts(rng, table(rng))))


def _changed_part(rng: random.Random) -> Input:
    """A workbook whose archive is right and one of whose parts isn't what it was."""
    if rng.random() < 0.5:
        parts = sheet_parts(rng, table(rng))
    else:
        parts = dict(_parts(rng.choice(_golden("xlsx"))))
    for name in rng.choices(list(parts), k=rng.choice((1, 1, 2))):
        if rng.random() < 0.1:
            parts.pop(name, None)
        else:
            parts[name] = changed(rng, parts.get(name, b""))
    return Input("xlsx", packed(rng, parts))


def _changed_archive(rng: random.Random) -> Input:
    return Input("xlsx", changed(rng, _xlsx(rng).content))


def _changed_golden(rng: random.Random) -> Input:
    path = rng.choice(_golden("xls", "xls", "xlsx", "xlsm", "csv"))
    return Input(kind_of(path.name), changed(rng, path.read_bytes()))


def _other(rng: random.Random) -> Input:
    """A workbook of another format, or an .xlsx workbook with more than cells in it."""
    kind, content = _sheets(rng)
    return Input(kind, content)


def _changed_other(rng: random.Random) -> Input:
    kind, content = _sheets(rng)
    if kind == "fods" or rng.random() < 0.2:
        return Input(kind, changed(rng, content))
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    for name in rng.choices(list(parts), k=rng.choice((1, 1, 2))):
        parts[name] = changed(rng, parts[name])
    return Input(kind, packed(rng, parts))


def _sheets(rng: random.Random) -> tuple[str, bytes]:
    sheets = []
    for number in range(rng.choice((1, 1, 2, 4))):
        rows = [[_typed(rng, cell) for cell in row] for row in table(rng)]
        sheet = BinarySheet(f"Sheet {number}", rows, state=rng.choice((0,) * 8 + (1, 2)))
        sheet.hidden_rows = rng.choices(range(1, len(rows) + 2), k=rng.choice((0, 0, 3)))
        sheet.hidden_columns = rng.choices(range(6), k=rng.choice((0, 0, 2)))
        sheet.merged = [_area(rng, len(rows)) for _ in range(rng.choice((0, 0, 1, 5, 200)))]
        sheets.append(sheet)
    is_1904 = rng.random() < 0.2
    kind = rng.choice(("xlsb", "ods", "fods"))
    if kind == "xlsb":
        return kind, binary_workbook(sheets, is_1904=is_1904)
    make_document = open_document if kind == "ods" else flat_document
    content = make_document(sheets, is_1904=is_1904)
    return kind, content


def _typed(rng: random.Random, cell: str) -> Any:
    """The cell, as a value of any type; XML can't hold every character."""
    text = "".join(sign if sign >= " " and sign < "\ufffe" else "?" for sign in cell)
    if rng.random() < 0.8:
        return text
    value: Any = rng.choice((1, -2.5, True, None, dt.date(2024, 3, 5), "#N/A", text))
    return Formula(value) if rng.random() < 0.1 and not isinstance(value, dt.date | None) else value


def _area(rng: random.Random, rows: int) -> tuple[int, int, int, int]:
    top, left = rng.randrange(rows + 1), rng.randrange(6)
    high, wide = rng.choice((0, 1, 3, 1_000_000)), rng.choice((0, 1, 3, 16_000))
    return top, top + high, left, left + wide


def changed(rng: random.Random, content: bytes) -> bytes:
    """The content with a few changes, each of another kind."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not found:
            return rng.choice(_BITS)
        at = rng.randrange(len(found))
        length = min(rng.choice((1, 2, 4, 30, 300)), len(found) - at)
        rng.choice(_CHANGES)(rng, found, at, length)
    return bytes(found)


def _flip(rng: random.Random, found: bytearray, at: int, _length: int) -> None:
    found[at] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, found: bytearray, at: int, length: int) -> None:
    found[at : at + length] = rng.randbytes(length)


def _put_in(rng: random.Random, found: bytearray, at: int, _length: int) -> None:
    found[at:at] = rng.choice(_BITS) * rng.choice((1, 1, 1, 50))


def _replace(rng: random.Random, found: bytearray, at: int, _length: int) -> None:
    bit = rng.choice(_BITS)
    found[at : at + len(bit)] = bit


def _take_out(_rng: random.Random, found: bytearray, at: int, length: int) -> None:
    del found[at : at + length]


def _repeat(rng: random.Random, found: bytearray, at: int, length: int) -> None:
    found[at:at] = found[at : at + length] * rng.choice((1, 2, 100))


def _cut_off(_rng: random.Random, found: bytearray, at: int, _length: int) -> None:
    del found[at:]


def _move(rng: random.Random, found: bytearray, at: int, length: int) -> None:
    piece = found[at : at + length]
    del found[at : at + length]
    to = rng.randint(0, len(found))
    found[to:to] = piece


_CHANGES: Final[tuple[Callable[[random.Random, bytearray, int, int], None], ...]] = (
    _flip, _overwrite, _put_in, _replace, _take_out, _repeat, _cut_off, _move,
)  # fmt: skip


def packed(rng: random.Random, parts: dict[str, bytes]) -> bytes:
    """The parts as an archive."""
    target = io.BytesIO()
    method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
    with zipfile.ZipFile(target, "w", method) as out:
        for name, content in parts.items():
            out.writestr(name, content)
    return target.getvalue()


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


@cache
def _golden(*kinds: str) -> list[Path]:
    return [path for kind in kinds for path in sorted(GOLDEN.glob(f"*.{kind}"))]
