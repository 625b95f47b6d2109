"""Writes a synthetic members file, as messy as real ones, and counts every planted fault.

All members are drawn first, as numpy arrays of small codes, so that a duplicate is a copy of an
earlier row's codes. The codes become text a chunk at a time, by polars expressions, and each cell
has its own kind: real files mix numbers, dates and text within one column, and a reader that was
tried on tidy columns only has not been tried.
"""

from __future__ import annotations

import datetime as dt
import tomllib
import zipfile
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from rollbook import clock
from rollbook.errors import InvalidRequestError, UnsupportedFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

#: The most rows by kind of file: a worksheet's 1,048,576 less the header, and for CSV as many as
#: the pipeline was measured with. From five million on, drawing them takes gigabytes of memory.
MOST_ROWS: Final = {".xlsx": 1_048_575, ".csv": 10_000_000}

CHUNK: Final = 25_000
LOST_ZERO_SHARE: Final = 0.01
#: Ages in years. Less than 100 apart, so that two digits name one year of birth.
YOUNGEST, OLDEST = 18, 90
EPOCH: Final = dt.date(1970, 1, 1).toordinal()

#: What a cell is in a workbook.
TEXT, NUMBER, DATE = 0, 1, 2
#: How an ID number is spelt: as text, as text with spaces, as a number cell.
PLAIN, SPACED, NUMERIC = 0, 1, 2
#: The fault of an invalid row; 0 is none.
NO_SURNAME, NO_ID, CHECK_DIGIT, BIRTH_DATE, SHORT, LETTER = FAULTS = range(1, 7)

_Codes: TypeAlias = npt.NDArray[np.integer[Any]]


class _Column(NamedTuple):
    header: str
    #: The cell as text; null where there is none.
    value: pl.Expr
    #: TEXT, NUMBER or DATE for each cell.
    kind: pl.Expr = pl.lit(TEXT)


@dataclass(frozen=True)
class SampleFacts:
    """What was planted in a sample, exactly."""

    #: Rows below the header.
    rows: int
    #: Rows that a correct validator refuses: the ID number is missing or wrong, or no surname.
    invalid: int
    #: Valid rows whose ID number is in an earlier valid row.
    duplicates: int
    #: ID cells that are numbers without their leading zeros, and valid once those are restored.
    lost_zero: int
    #: Cells of the date columns that are text in a workbook. A CSV has the same ones, beside
    #: ``yyyy/mm/dd`` for what is a date cell in a workbook, as Excel exports it in South Africa.
    text_dates: int

    @property
    def expected(self) -> dict[str, int]:
        """Expected count by outcome, for an upload without a scope into an empty members table."""
        inserted = self.rows - self.invalid - self.duplicates
        return {"inserted": inserted, "invalid": self.invalid, "duplicate": self.duplicates}


def write_sample(
    path: Path,
    rows: int,
    *,
    seed: int = 1,
    invalid_share: float = 0.03,
    duplicate_share: float = 0.02,
    province: str | None = None,
    half: int | None = None,
    today: dt.date | None = None,
) -> SampleFacts:
    """Write a synthetic members file with one header row; an existing file is replaced.

    Citizenship digits are 0 and 1 only: validators differ about 2 (refugees).

    Args:
        path: Where to; its suffix decides between ``.xlsx`` and ``.csv``.
        rows: Rows below the header, 0 to ``MOST_ROWS`` of the suffix.
        seed: The same seed, arguments and day give the same bytes.
        invalid_share: Share of rows (0 to 1) that a correct validator refuses.
        duplicate_share: Share of rows (0 to 1) that repeat an earlier valid row's ID number.
        province: A province's name or code, for members of that province only.
        half: 0 or 1, to draw people from that half of all possible ones: samples of different
            halves have no person in common.
        today: The day that ages and payments are counted from, by default today.

    Raises:
        UnsupportedFileError: Another suffix.
        InvalidRequestError: A number out of its range, or a province that doesn't exist.
    """
    suffix = path.suffix.lower()
    if suffix not in MOST_ROWS:
        raise UnsupportedFileError(
            "A sample is an Excel workbook or a CSV file: nothing was written, "
            "please give a name that ends in .xlsx or .csv."
        )
    if not 0 <= rows <= MOST_ROWS[suffix]:
        raise InvalidRequestError(
            f"A sample ending in {suffix} has 0 to {MOST_ROWS[suffix]:,} rows: nothing was written."
        )
    if half not in (None, 0, 1):
        raise InvalidRequestError("A sample's half is 0 or 1: nothing was written.")
    if min(seed, invalid_share, duplicate_share) < 0 or invalid_share + duplicate_share > 1:
        raise InvalidRequestError(
            "A sample's seed and shares are 0 or more, its shares together at most 1: "
            "nothing was written."
        )
    text = resources.files("rollbook.cli").joinpath("sample_data.toml")
    content = text.read_text(encoding="utf-8")
    data = tomllib.loads(content)
    places = _places(data["provinces"], province)
    planted = (round(rows * invalid_share), round(rows * duplicate_share))
    rng = np.random.default_rng(seed)
    day = today or clock.today()
    members = _draw(rng, rows, planted, data=data, places=places, half=half, today=day)
    columns = _columns(data, places, workbook=suffix == ".xlsx")
    if suffix == ".xlsx":
        _write_workbook(path, data["workbook"], _sheet(members, columns))
    else:
        cells = [column.value.alias(column.header) for column in columns]
        with path.open("wb") as file:
            for start in range(0, max(rows, 1), CHUNK):
                chunk = members.slice(start, CHUNK).select(cells)
                chunk.write_csv(file, include_header=start == 0)
    dates = pl.concat(members[f"{name}_spelling"] for name in ("joined", "paid", "expires"))
    return SampleFacts(
        rows=rows,
        invalid=int((members["fault"] != 0).sum()),
        duplicates=int(members["repeats"].sum()),
        lost_zero=members.filter(id_spelling=NUMERIC).filter(pl.col("id") < 10**12).height,
        text_dates=int(dates.is_in([1, 2]).sum()),
    )


def _places(provinces: dict[str, Any], wanted: str | None) -> pl.DataFrame:
    """One row per municipality, with what its province lends it."""
    found = [
        (*municipality, province["landline"], province["district"], *province["spellings"])
        for province in provinces.values()
        if wanted is None
        or wanted.strip().casefold() in {word.strip().casefold() for word in province["spellings"]}
        for municipality in province["municipalities"]
    ]
    if not found:
        raise InvalidRequestError(
            f"There is no such province, please give one of: {', '.join(provinces)}."
        )
    names = ["name", "code", "region", "stem", "wards", "landline", "district", "0", "1", "2", "3"]
    return pl.DataFrame(found, schema=names, orient="row")


# --- drawing the members ----------------------------------------------------------------------


def _check_digit(body: _Codes) -> _Codes:
    """The Luhn check digit for the 12 digits before it."""
    total = np.zeros_like(body)
    for place in range(12):
        digit = body // 10**place % 10
        total += digit if place % 2 else digit * 2 - 9 * (digit > 4)
    return -total % 10


def _draw(
    rng: np.random.Generator,
    rows: int,
    planted: tuple[int, int],
    *,
    data: dict[str, Any],
    places: pl.DataFrame,
    half: int | None,
    today: dt.date,
) -> pl.DataFrame:
    """One row of codes per member, by the names that ``_columns`` asks for."""

    def pick(*weights: float) -> _Codes:
        edges = np.cumsum(weights)
        return np.searchsorted(edges / edges[-1], rng.random(rows), side="right").astype(np.uint16)

    def between(low: _Codes | int, high: _Codes | int) -> _Codes:
        """Whole numbers, both ends included."""
        return (low + rng.random(rows) * (high - low + 1)).astype(np.int32)

    # A day of birth and a sequence number are drawn as one number, without repeats: each ID number
    # is unique until a duplicate is planted.
    oldest, youngest = (
        today.replace(year=today.year - age, day=min(today.day, 28)).toordinal() - EPOCH
        for age in (OLDEST, YOUNGEST)
    )
    possible = (youngest - oldest) * 10_000
    if half is None:
        drawn = rng.choice(possible, rows, replace=False)
    else:
        drawn = rng.choice(possible // 2, rows, replace=False) * 2 + half
    born, sequence = oldest + 1 + drawn // 10_000, drawn % 10_000
    days = born.astype("datetime64[D]")
    years, months = days.astype("datetime64[Y]"), days.astype("datetime64[M]")
    ymd = (years.astype(int) + 1970) * 10_000 + (months - years).astype(int) * 100
    ymd += (days - months).astype(int) + 101
    male, citizenship = (sequence >= 5_000).astype(np.uint8), pick(97, 3)
    body = ymd % 10**6 * 10**6 + sequence * 100 + citizenship * 10 + 8 + pick(9, 1)

    fault = np.zeros(rows, np.uint8)
    fault[rng.permutation(rows)[: planted[0]]] = rng.choice(FAULTS, planted[0])
    # The first valid row has nothing to repeat.
    valid = np.flatnonzero(fault == 0)
    later = rng.permutation(valid[1:])[: planted[1]]
    originals = np.setdiff1d(valid, later, assume_unique=True)
    earlier = originals[rng.integers(np.searchsorted(originals, later))]

    # Month 13 to 24, or day 32 to 62, under a right check digit: only the date is wrong.
    impossible = np.where(pick(1, 1), 12 * 100, 31) * 10**6
    body = np.where(fault == BIRTH_DATE, body + impossible, body)
    body = np.where(fault == SHORT, body // 10, body)
    # Off by 1 to 9 is always wrong; for a short number, also after a zero was put before it.
    off = np.isin(fault, [CHECK_DIGIT, SHORT]) * between(1, 9)
    number = body * 10 + (_check_digit(body) + off) % 10

    spellings = {f"{name}_spelling": pick(*often) for name, often in data["spellings"].items()}
    spelling = spellings["id_spelling"]
    spelling[(number < 10**12) | (fault == LETTER)] = PLAIN
    zeros = np.flatnonzero((number < 10**12) & (fault <= NO_SURNAME))
    lost = rng.permutation(np.setdiff1d(zeros, later, assume_unique=True))[
        : round(rows * LOST_ZERO_SHARE)
    ]
    spelling[lost] = NUMERIC

    place = pick(*places["wards"])
    present = today.toordinal() - EPOCH
    adult = np.minimum(born + YOUNGEST * 366, present)
    joined = between(np.maximum(adult, present - 5_000), present)
    paid = between(np.maximum(joined, present - 1_100), present)
    women, everyone = len(data["female"]), len(data["female"]) + len(data["male"])
    codes: dict[str, _Codes] = {
        "id": number,
        "fault": fault,
        **spellings,
        "male": male,
        "citizenship": citizenship,
        "age": (today.year * 10_000 + today.month * 100 + today.day - ymd) // 10_000,
        "firstname": np.where(male, between(women, everyone - 1), between(0, women - 1)),
        "mobile": rng.choice(data["mobile"], rows) * 10**7 + between(0, 10**7 - 2),
        "landline": places["landline"].to_numpy()[place] * 10**7 + between(2 * 10**6, 6 * 10**6),
        "house": between(1, 400),
        "place": place,
        "ward": between(1, places["wards"].to_numpy()[place]),
        "joined": joined,
        "paid": paid,
        "expires": paid + 730,
        "repeats": np.zeros(rows, np.bool_),
    }
    codes |= {name: pick(*(1 for _ in data[name])) for name in ("surname", "street", "station")}
    codes |= {header: pick(*cells.values()) for header, cells in data["choices"].items()}
    for values in codes.values():
        values[later] = values[earlier]
    # Half of the repeats have spaces in the number, half have another phone.
    codes["repeats"][later] = True
    codes["id_spelling"][later[rng.random(len(later)) < 0.5]] = SPACED
    codes["mobile"][later[rng.random(len(later)) < 0.5]] += 1
    return pl.DataFrame(codes)


# --- from codes to cells ----------------------------------------------------------------------


def _columns(data: dict[str, Any], places: pl.DataFrame, *, workbook: bool) -> list[_Column]:
    forenames = _one_of([*data["female"], *data["male"]], "firstname")
    surnames, named = _one_of(data["surname"], "surname"), pl.col("fault") != NO_SURNAME
    mail = [
        *(name.str.to_lowercase().str.replace_all("[^a-z]", "") for name in (forenames, surnames)),
        pl.col("house").cast(pl.String),
        _one_of(data["mail"], "mail_spelling"),
    ]
    address = pl.format("{} {}", "house", _one_of(data["street"], "street"))
    station = pl.format("Station {} {}", "ward", _one_of(data["station"], "station"))
    place = {name: _one_of(places[name], "place") for name in places.columns}
    municipality = [place["name"], place["code"], place["name"] + " "]
    ward = place["stem"] * 1_000 + pl.col("ward")
    # Never one of the special codes (11111111 and so on): no ward of the data leads there.
    district = place["district"] * 10**7 + ward % 10**6 * 10 + pl.col("station")
    choices = {name: _choice(name, list(cells)) for name, cells in data["choices"].items()}
    return [
        _id_number("  ID Number "),
        _Column("Firstname", _name(forenames)),
        _Column("SURNAME", pl.when(named).then(_name(surnames))),
        _phone("Cell number", "mobile"),
        _phone("Landline Number", "landline"),
        _Column("E-mail", pl.concat_str(mail)),
        _Column("Residential Address", address),
        _Column("Age", pl.col("age").cast(pl.String), pl.lit(NUMBER)),
        _Column("Gender", _by_digit(data["gender"], "male")),
        choices["Race"],
        _Column("Citizenship", _by_digit(data["citizenship"], "citizenship")),
        *(choices[name] for name in ("Language", "Occupation", "Qualification")),
        _Column("Province", _spelt("province_spelling", [place[key] for key in "0123"])),
        _Column("Region", place["region"]),
        _Column("Municipality", _spelt("place_spelling", municipality)),
        _code("Ward", ward),
        _Column("Voting Station", station),
        _code("Voting District", district),
        _date("Date Joined", "joined", workbook=workbook),
        _date("Last Payment", "paid", workbook=workbook),
        _date("Expiry Date", "expires", workbook=workbook),
        *(choices[name] for name in ("Subscription", "Memebership Amount", "Status", "Notes")),
    ]


def _one_of(values: Sequence[Any] | pl.Series, index: str) -> pl.Expr:
    """The value at the index that the column holds; an empty text is no cell."""
    cells = pl.Series([None if value == "" else value for value in values])
    return pl.lit(cells).gather(pl.col(index))


def _spelt(spelling: str, spellings: Sequence[pl.Expr]) -> pl.Expr:
    """The spelling at the index that the column holds; after the last there is no cell."""
    return pl.coalesce(
        pl.when(pl.col(spelling) == index).then(value) for index, value in enumerate(spellings)
    )


def _name(plain: pl.Expr) -> pl.Expr:
    return _spelt("name_spelling", [plain, plain.str.to_uppercase(), plain + " "])


def _by_digit(table: Sequence[Sequence[str]], digit: str) -> pl.Expr:
    return _spelt("any_spelling", [_one_of(pair, digit) for pair in zip(*table, strict=True)])


def _choice(header: str, cells: Sequence[str]) -> _Column:
    kinds = [NUMBER if cell.isdigit() else TEXT for cell in cells]
    return _Column(header, _one_of(cells, header), _one_of(kinds, header))


def _code(header: str, value: pl.Expr) -> _Column:
    text = value.cast(pl.String)
    kind = _one_of([NUMBER, TEXT, TEXT], "ward_spelling")
    return _Column(header, _spelt("ward_spelling", [text, text]), kind)


def _id_number(header: str) -> _Column:
    number, fault = pl.col("id").cast(pl.String), pl.col("fault")
    full = number.str.zfill(13)
    spaced = pl.format("{} {} {}", full.str.head(6), full.str.slice(6, 4), full.str.tail(3))
    value = (
        pl.when(fault == SHORT)
        .then(number.str.zfill(12))
        .when(fault == LETTER)
        .then(full.str.head(9) + "X" + full.str.tail(3))
        .when(fault != NO_ID)
        .then(_spelt("id_spelling", [full, spaced, number]))
    )
    return _Column(header, value, _one_of([TEXT, TEXT, NUMBER], "id_spelling"))


def _phone(header: str, name: str) -> _Column:
    number = pl.col(name).cast(pl.String)
    parts = pl.format("{} {} {}", number.str.head(2), number.str.slice(2, 3), number.str.tail(4))
    spellings = ["0" + number, "0" + parts, "+27 " + parts, number]
    kind = _one_of([TEXT, TEXT, TEXT, NUMBER, TEXT], f"{name}_spelling")
    return _Column(header, _spelt(f"{name}_spelling", spellings), kind)


def _date(header: str, name: str, *, workbook: bool) -> _Column:
    # Excel counts days from 1899-12-30, for all dates after February 1900.
    serial = (pl.col(name) + 25_569).cast(pl.String)
    day = pl.col(name).cast(pl.Int32).cast(pl.Date)
    shown, *text = (day.dt.strftime(form) for form in ("%Y/%m/%d", "%d/%m/%Y", "%Y-%m-%d"))
    spellings = [serial if workbook else shown, *text, serial]
    kind = _one_of([DATE, TEXT, TEXT, NUMBER, TEXT], f"{name}_spelling")
    return _Column(header, _spelt(f"{name}_spelling", spellings), kind)


# --- the workbook -----------------------------------------------------------------------------


def _write_workbook(path: Path, data: dict[str, str], sheet: Iterable[str]) -> None:
    parts = [(name, [content]) for name, content in data.items()]
    # A part that is opened by its name is dated 1980, so the same members give the same bytes.
    # Zip64 isn't needed: a full sheet is under 2 GiB of XML.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, texts in [*parts, ("xl/worksheets/sheet1.xml", sheet)]:
            with archive.open(name, "w") as part:
                part.write(b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n')
                for text in texts:
                    part.write(text.encode())


def _sheet(members: pl.DataFrame, columns: Sequence[_Column]) -> Iterator[str]:
    # The names of the first 52 columns.
    letters = [f"{'A' * (index // 26)}{chr(65 + index % 26)}" for index in range(len(columns))]
    row = pl.col("row").cast(pl.String)
    cells = [_cell(column, name, row) for column, name in zip(columns, letters, strict=True)]
    line = pl.concat_str([pl.lit('<row r="'), row, pl.lit('">'), *cells, pl.lit("</row>")])
    titles = [_Column(column.header, pl.lit(column.header)) for column in columns]
    first = [_cell(title, name, pl.lit("1")) for title, name in zip(titles, letters, strict=True)]
    yield (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f'<dimension ref="A1:{letters[-1]}{members.height + 1}"/>'
        '<sheetViews><sheetView tabSelected="1" workbookViewId="0"/></sheetViews>'
        '<sheetFormatPr defaultRowHeight="15"/><sheetData><row r="1">'
        f"{pl.select(pl.concat_str(first)).item()}</row>"
    )
    for start in range(0, members.height, CHUNK):
        chunk = members.slice(start, CHUNK).with_row_index("row", offset=start + 2)
        yield chunk.select(line.str.join("")).item()
    yield "</sheetData></worksheet>"


def _cell(column: _Column, letters: str, row: pl.Expr) -> pl.Expr:
    """The cell's XML, and nothing at all where there is no value."""
    text = column.value.str.replace_many(["&", "<"], ["&amp;", "&lt;"])
    # Spaces at the ends are part of the mess, and XML readers may drop them without this.
    edge = pl.when(text.str.starts_with(" ") | text.str.ends_with(" "))
    space = edge.then(pl.lit(' xml:space="preserve"')).otherwise(pl.lit(""))
    start = f'<c r="{letters}{{}}"'
    return (
        pl.when(column.kind == TEXT)
        .then(pl.format(start + ' t="inlineStr"><is><t{}>{}</t></is></c>', row, space, text))
        .when(column.kind == DATE)
        .then(pl.format(start + ' s="1"><v>{}</v></c>', row, column.value))
        .otherwise(pl.format(start + "><v>{}</v></c>", row, column.value))
        .fill_null("")
    )
