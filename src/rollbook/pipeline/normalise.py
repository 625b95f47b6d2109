"""Normalise: every cell of a known column in one spelling and of its type.

A cell that can't be understood becomes null, and a doubt says so; it never refuses the row. The
rules that do are in ``validate``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from rollbook import fields
from rollbook.pipeline import (
    amounts,
    birth_dates,
    cells,
    corrections,
    free_texts,
    id_numbers,
    names,
    own_fields,
    problems,
    remarks,
)
from rollbook.pipeline.columns import (
    FULL_NAME,
    REQUIRED,
    built_in,
    is_correction,
    is_surname_first,
    names_passport,
)
from rollbook.pipeline.dates import Orders, dates
from rollbook.pipeline.documents import with_documents, without_documents
from rollbook.pipeline.emails import emails
from rollbook.pipeline.phones import phones
from rollbook.pipeline.places import placed, provinces
from rollbook.pipeline.plausible import contradictions, latest_past
from rollbook.pipeline.problem_table import by_severity, select
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from rollbook.pipeline.aliases import Aliases
    from rollbook.pipeline.cells import Understood
    from rollbook.pipeline.dates import Used
    from rollbook.pipeline.read import Sheet

#: The built-in fields.
FIELDS = tuple(built_in())
DATES = ("date_joined", "last_payment", "expiry_date")
NAMES = ("firstname", "surname")
#: Fields in which a word such as "NULL" is no name, and one such as "Nan" may be one.
_NAMES: Final = (*NAMES, FULL_NAME)
#: Fields that the ID number contains too, more reliably.
_FROM_ID: Final = ("gender", "citizenship")
#: Duration of a membership from its last payment in months, if the file has no expiry date.
MEMBERSHIP_MONTHS = 24
#: The types of fields that aren't text.
_TYPES: Final[Mapping[str, pl.DataType]] = {
    **dict.fromkeys(DATES, pl.Date()),
    "membership_amount": amounts.TYPE,
    "age": pl.Int16(),
}
_NOTHING: Final = pl.Series([None], dtype=pl.String)
_GENDER: Final = id_numbers.gender(pl.col("id_number"))
_CITIZENSHIP: Final = id_numbers.citizenship(pl.col("id_number"))
#: The doubt of an expiry date that was counted, since its own cell was not understood.
_COUNTED: Final = pl.Series(["expiry_unclear"])


#: How the cells of a field are read. Dates, ID numbers and full names have functions of their own,
#: and a field that isn't here is text.
_MEANINGS: Final[Mapping[str, Callable[[pl.Series], Understood]]] = {
    "firstname": lambda texts: names.names(texts, is_first=True),
    "surname": lambda texts: names.names(texts, is_first=False),
    "cell_number": phones,
    "landline_number": phones,
    "email": emails,
    "ward": cells.wards,
    "voting_district": cells.voting_districts,
    "membership_amount": amounts.amounts,
    "age": cells.ages,
    "province": provinces,
    "gender": free_texts.spelling("gender", "gender_unknown"),
    "citizenship": free_texts.spelling("citizenship", "citizenship_unknown"),
    "race": free_texts.race,
    "language": free_texts.spelling("language", None),
    **free_texts.MEANINGS,
}


@dataclass(frozen=True, slots=True)
class Normalised:
    """The known columns of a file."""

    #: ``row_number``, every built-in field (null where the file has no such column), the own fields
    #: that the file has columns of, and from a valid ID
    #: number ``date_of_birth``, ``gender_from_id`` and ``citizenship_from_id``;
    #: ``province_unknown`` where there is a province that we don't know; ``expiry_is_derived``:
    #: whether the expiry date comes from the last payment, null where there is none.
    frame: pl.DataFrame
    #: The same cells as the file has them: ``row_number`` and every field as text.
    raw: pl.DataFrame
    #: Warnings; see ``problem_table.PROBLEMS``, with a name of ``headers`` in ``column``.
    warnings: pl.DataFrame
    #: Errors of single cells of required fields, in the form of ``warnings``.
    faults: pl.DataFrame
    #: The file's header by field, and by the names under which warnings are about others.
    headers: Mapping[str, str]
    #: The cells that empty their field, by field: one boolean for each row.
    emptied: Mapping[str, pl.Series] = field(default_factory=dict)
    #: How the dates of this batch were read, by field and header.
    date_orders: Mapping[tuple[str, str], Used] = field(default_factory=dict)
    #: Rows that were read by an alias of the office, by field and alias.
    aliased: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: How many of how many birth dates differ from the ID number's, if most do.
    births_differ: tuple[int, int] | None = None


class _Field(NamedTuple):
    """The cells of a field, row by row."""

    #: As the file has them.
    raw: pl.Series
    values: pl.Series
    #: The code of each cell's doubt; None where no cell has any.
    doubts: pl.Series | None
    #: The cells whose text empties the field; None where no cell does.
    emptied: pl.Series | None = None


def normalise(
    sheet: Sheet,
    today: dt.date,
    orders: Orders | None = None,
    *,
    empty_text: str | None = None,
    accepts_passports: bool = False,
    aliases: Aliases | None = None,
    counts_from_joining: bool = False,
) -> Normalised:
    """Bring every known column of a batch into one spelling.

    ``today`` decides the century of two-digit years. ``orders`` are those of the dates in the
    earlier batches of the file, and learn from this one. ``empty_text`` empties a field; it is
    clean and in small letters. ``accepts_passports``: passports may take the place of ID numbers.
    ``aliases`` are the office's own words.
    """
    batch = _Batch(sheet, today, orders or Orders(), empty_text, aliases or {})
    fields_read = (*FIELDS, *own_fields.of_sheet(sheet.columns.headers))
    found = {
        name: batch.field(name)
        for name in fields_read
        if name in sheet.columns.headers and not batch.only_corrects(name)
    }
    if FULL_NAME in found:
        found |= batch.split_names(found)
    for name in NAMES:
        if batch.only_corrects(name):
            found[name] = batch.corrected(found[name], name)
    rows = sheet.frame[[ROW_NUMBER]]
    empty = cells.nulls(rows.height)
    raw = rows.hstack(
        [(found[name].raw if name in found else empty).alias(name) for name in fields_read]
    )
    number = pl.col("id_number")
    birth_dates_said = batch.birth_dates()
    births_differ: tuple[int, int] | None = None
    values = {
        name: found[name].values if name in found else empty.cast(_TYPES.get(name, pl.String()))
        for name in fields_read
    }
    frame = rows.hstack([found_.alias(name) for name, found_ in values.items()])
    is_combined = names_passport(batch.headers.get("id_number", ""))
    if is_combined or "passport_number" in found or "passport_country" in found:
        frame, of_documents = with_documents(
            frame,
            raw["id_number"],
            is_combined=is_combined,
            accepts_passports=accepts_passports,
        )
        batch.doubts += [select(raw, where, name, code) for name, code, where in of_documents]
    else:
        frame = without_documents(frame)
    age = pl.col("age") if "age" in found else None
    if birth_dates_said is not None:
        by_number = frame.select(id_numbers.birth_date(number, today, age=age)).to_series()
        said_age = pl.lit(birth_dates.ages(birth_dates_said, by_number, today))
        age = said_age if age is None else pl.coalesce(age, said_age)
    frame = frame.with_columns(
        date_of_birth=id_numbers.birth_date(number, today, age=age),
        gender_from_id=_GENDER,
        citizenship_from_id=_CITIZENSHIP,
        province_unknown=_has(found.get("province"), "province_unknown", rows.height),
    )
    if birth_dates_said is not None:
        born = frame["date_of_birth"]
        cells_said = rows.with_columns(birth_dates_said["raw"].alias(birth_dates.NAME))
        of_births, births_differ = birth_dates.doubts(birth_dates_said, born, by_number)
        batch.doubts += [
            select(cells_said, where, birth_dates.NAME, code, born)
            for code, where in of_births.items()
        ]
    batch.doubts += remarks.doubts(sheet, batch.headers, frame, today)
    birth = batch.own.rules.get("date_of_birth")
    if birth is not None and birth.least_age is not None:
        is_young = own_fields.too_young(frame["date_of_birth"], birth.least_age, today)
        batch.doubts.append(select(raw, is_young, "id_number", "date_of_birth.least_age"))
    emptied = {name: one.emptied for name, one in found.items() if one.emptied is not None}
    counted = _with_expiry(
        frame, today, emptied.get("expiry_date"), counts_from_joining=counts_from_joining
    )
    doubts = _doubts(raw, counted, found)
    counted, out_of_place = placed(counted)
    doubts += [
        # A cell may have the same doubt by itself.
        select(raw, where & ~_has(found.get(name), code, rows.height), name, code, kept)
        for name, code, where, kept in (*out_of_place, *contradictions(frame, today))
    ]
    return Normalised(
        counted,
        raw,
        *by_severity([*doubts, *batch.doubts]),
        batch.headers,
        emptied,
        batch.date_orders,
        batch.aliased,
        births_differ,
    )


class _Batch:
    """Reads the columns of one batch, and collects what only one of its columns says."""

    def __init__(
        self,
        sheet: Sheet,
        today: dt.date,
        orders: Orders,
        empty_text: str | None,
        aliases: Aliases,
    ) -> None:
        self._sheet = sheet
        #: The organisation's own fields and rules.
        self.own = fields.current()
        self._aliases = aliases
        self.aliased: dict[tuple[str, str], int] = {}
        self._empty_text = empty_text
        self._today = today
        self._orders = orders
        #: See ``Normalised``.
        self.headers = {name: found[0] for name, found in sheet.columns.headers.items()}
        self.date_orders: dict[tuple[str, str], Used] = {}
        self.doubts: list[pl.DataFrame] = []

    def field(self, name: str) -> _Field:
        """The cells of a field: where several columns hold it, the first that has a value."""
        first, *others = self._sheet.columns.headers[name]
        return self._with_others(self._column(name, first), name, others)

    def only_corrects(self, name: str) -> bool:
        """Whether a name is in a column of whole names, and only its corrections in their own."""
        headers = self._sheet.columns.headers
        is_split = name in NAMES and FULL_NAME in headers and name in headers
        return is_split and all(map(is_correction, headers[name]))

    def corrected(self, found: _Field, name: str) -> _Field:
        """A name of a whole one, with its columns of corrections."""
        self.headers[name] = self.headers[FULL_NAME]
        return self._with_others(found, name, self._sheet.columns.headers[name])

    def _with_others(self, found: _Field, name: str, headers: Sequence[str]) -> _Field:
        """The cells of a field that other columns hold as well."""
        for number, header in enumerate(headers, start=2):
            other = f"{name}/{number}"
            self.headers[other] = header
            column = self._column(name, header)
            if is_correction(header):
                column = _Field(*corrections.said(name, *column[:3]), column.emptied)
            found = self._with_other(found, column, other)
        return found

    def birth_dates(self) -> pl.DataFrame | None:
        """The column of birth dates, if the file has one; see ``birth_dates.read``."""
        header = birth_dates.header(self._sheet)
        if header is None:
            return None
        self.headers[birth_dates.NAME] = header
        return birth_dates.read(self._sheet, header, self._today, self._orders)

    def _column(self, name: str, header: str) -> _Field:
        """One column; a text that is in many rows is understood once."""
        # By position and under another name: a header such as "^ID$" would be a pattern.
        place = self._sheet.frame.get_column_index(header)
        column = cells.column_of(self._sheet.frame.to_series(place).alias("cell"))
        is_required = name in (*REQUIRED, FULL_NAME, *self.own.needed)
        shown, texts, faults, odd = cells.cleaned(column.texts, is_required=is_required)
        emptied = self._emptied(texts)
        if emptied is not None and is_required:
            faults = _with_code(faults, emptied, "needed_not_emptied")
        if faults is not None:
            texts = texts.zip_with(faults.is_null(), _NOTHING)
        if emptied is not None:
            texts = texts.zip_with(~emptied, _NOTHING)
        if name in self._aliases:
            texts = self._without_aliases(name, texts, column)
        if name not in _NAMES and len(odd):
            some = texts.gather(odd)
            said = cells.without_nothing(some)
            if name == "passport_country":
                # Namibia's code.
                is_namibia = (some.str.to_lowercase() == "na").fill_null(value=False)
                said = said.zip_with(~is_namibia, some)
            texts = texts.clone().scatter(odd, said)
        found = self._understood(name, texts, header)
        if (rule := self.own.rules.get(name)) is not None:
            found = own_fields.checked(name, rule, found)
        values, doubts = found
        if faults is not None:
            doubts = faults.fill_null(doubts)
        if name in NAMES and len(odd):
            lines = odd.filter(names.has_lines(shown.gather(odd)))
            doubts = doubts.scatter(lines, doubts.gather(lines).fill_null("name_doubtful"))
        has_doubts = doubts.null_count() < len(doubts)
        return _Field(
            column.rows(shown),
            column.rows(values),
            column.rows(doubts) if has_doubts else None,
            None if emptied is None or is_required else column.rows(emptied).fill_null(value=False),
        )

    def _without_aliases(self, name: str, texts: pl.Series, column: cells.Column) -> pl.Series:
        """The texts with what the office means by them in place of its own words."""
        own = self._aliases[name]
        lower = texts.str.to_lowercase()
        meant = lower.replace_strict(own, default=None, return_dtype=pl.String)
        used = column.rows(lower.zip_with(meant.is_not_null(), _NOTHING)).drop_nulls()
        for alias, rows in used.value_counts().iter_rows():
            self.aliased[name, alias] = self.aliased.get((name, alias), 0) + rows
        return meant.fill_null(texts)

    def _emptied(self, texts: pl.Series) -> pl.Series | None:
        """Which clean texts empty their field; None where none does."""
        if self._empty_text is None:
            return None
        emptied = (texts.str.to_lowercase() == self._empty_text).fill_null(value=False)
        return emptied if emptied.any() else None

    def _understood(self, name: str, texts: pl.Series, header: str) -> Understood:
        if name == "id_number":
            return id_numbers.numbers(texts, self._today)
        own = self.own.by_key.get(name)
        if own is not None and own.kind != "date":
            return own_fields.understood(own, texts)
        if name in DATES or own is not None:
            used = self._orders.learn(name, texts, self._today, header)
            self.date_orders[name, header] = used
            is_1904 = self._sheet.is_1904
            return dates(texts, used.order, name, self._today, is_1904=is_1904)
        return _MEANINGS.get(name, free_texts.as_written)(texts)

    def _with_other(self, first: _Field, other: _Field, name: str) -> _Field:
        """The cells of a field that another column holds as well."""
        field = name.partition("/")[0]
        corrects = is_correction(self.headers[name])
        raw = self._sheet.frame.select(ROW_NUMBER).with_columns(other.raw.alias(name))
        is_taken = first.values.is_null() & other.values.is_not_null()
        if other.doubts is not None:
            self.doubts += [
                select(raw, (other.doubts == code) & is_taken, name, code, other.values)
                for code in _codes(other.doubts)
            ]
        differs = first.values.is_not_null() & other.raw.is_not_null()
        emptied = first.emptied
        if other.emptied is not None:
            differs &= ~other.emptied
            kept = other.emptied & first.values.is_not_null()
            self.doubts.append(select(raw, kept, name, "not_emptied", first.values))
            emptied = _either(emptied, other.emptied & ~kept)
        same = cells.comparable(first.values) == cells.comparable(other.values)
        differs &= ~same.fill_null(value=False)
        has_meaning = other.values.is_not_null()
        differs &= has_meaning if other.doubts is None else has_meaning | other.doubts.is_not_null()
        if field in NAMES and not corrects:
            # A column of nicknames or of whole names holds the name as well.
            within = (
                cells.comparable(other.values)
                .to_frame("other")
                .with_columns(first=cells.comparable(first.values))
            )
            contains = within.select(pl.col("other").str.contains(pl.col("first"), literal=True))
            differs &= ~contains.to_series().fill_null(value=False)
        code = "passport_differs" if field == "passport_number" else "second_column_differs"
        if corrects:
            code = corrections.code(field)
        self.doubts.append(select(raw, differs, name, code, first.values))
        return _Field(
            first.raw.zip_with(~(is_taken & first.raw.is_null()), other.raw),
            first.values.zip_with(~is_taken, other.values),
            first.doubts,
            emptied,
        )

    def split_names(self, found: Mapping[str, _Field]) -> dict[str, _Field]:
        """First names and surnames from a column of whole names, where no other column has them."""
        whole = found[FULL_NAME]
        texts = whole.values.unique().drop_nulls()
        header = self.headers[FULL_NAME]
        parts = [names.split(text, is_surname_first=is_surname_first(header)) for text in texts]
        columns = dict.fromkeys(("split_first", "split_last"), pl.String)
        table = pl.DataFrame(parts, columns, orient="row").with_columns(texts.alias("whole"))
        rows = whole.values.to_frame("whole").join(
            table, on="whole", how="left", maintain_order="left"
        )
        first, last = (
            found[name].values.alias(name) if name in found else cells.nulls(rows.height, name)
            for name in NAMES
        )
        rest = names.without_surname(pl.col("whole"), pl.col("surname"))
        new_first = pl.when(pl.col("surname").is_not_null()).then(rest).otherwise("split_first")
        rows = (
            rows.with_columns(first, last)
            .with_columns(new_first=new_first)
            .select(
                "whole",
                is_split=(
                    (pl.col("firstname").is_null() & (pl.col("new_first") != pl.col("whole")))
                    | (pl.col("surname").is_null() & pl.col("split_last").is_not_null())
                ).fill_null(value=False),
                firstname=pl.coalesce("firstname", "new_first"),
                surname=pl.coalesce("surname", "split_last"),
            )
        )
        kept = rows.select(
            pl.concat_str("firstname", "surname", separator=" / ", ignore_nulls=True)
        ).to_series()
        raw = self._sheet.frame.select(ROW_NUMBER).with_columns(whole.raw.alias(FULL_NAME))
        if is_correction(header):
            differs = corrections.names_differ(whole.values, kept)
            self.doubts.append(select(raw, differs, FULL_NAME, corrections.code(FULL_NAME), kept))
        self.doubts.append(select(raw, rows["is_split"], FULL_NAME, "name_split", kept))
        return {name: self._split_field(name, found, rows[name], whole.raw) for name in NAMES}

    def _split_field(
        self, name: str, found: Mapping[str, _Field], values: pl.Series, raw: pl.Series
    ) -> _Field:
        self.headers.setdefault(name, self.headers[FULL_NAME])
        understood = _MEANINGS[name](values)
        return _Field(
            found[name].raw.fill_null(raw) if name in found else raw,
            understood.values,
            understood.doubts,
        )


def _codes(doubts: pl.Series) -> list[str]:
    return sorted(filter(None, doubts.unique().to_list()))


def _doubts(
    raw: pl.DataFrame, frame: pl.DataFrame, found: Mapping[str, _Field]
) -> list[pl.DataFrame]:
    tables: list[pl.DataFrame] = []
    for name, field_ in found.items():
        if field_.doubts is None:
            continue
        # The ID number's value is used where the cell isn't understood.
        kept = frame[f"{name}_from_id" if name in _FROM_ID else name]
        doubts = field_.doubts
        if name == "expiry_date":
            is_counted = field_.values.is_null() & kept.is_not_null()
            doubts = doubts.zip_with(~(is_counted & doubts.is_not_null()), _COUNTED)
        for code in _codes(doubts):
            where = doubts == code
            # It is no error where another column has the value.
            if problems.catalogue()[code].severity == "error":
                where &= kept.is_null()
            tables.append(select(raw, where, name, code, kept))
    return tables


def _either(one: pl.Series | None, other: pl.Series) -> pl.Series:
    return other if one is None else one | other


def _with_code(codes: pl.Series | None, where: pl.Series, code: str) -> pl.Series:
    """The codes, with this one where it holds."""
    ours = cells.coded(where, code)
    return ours if codes is None else ours.fill_null(codes)


def _has(field_: _Field | None, code: str, height: int) -> pl.Series:
    if field_ is None or field_.doubts is None:
        return pl.Series([False]).new_from_index(0, height)
    return (field_.doubts == code).fill_null(value=False)


def _with_expiry(
    frame: pl.DataFrame,
    today: dt.date,
    emptied: pl.Series | None = None,
    *,
    counts_from_joining: bool,
) -> pl.DataFrame:
    """The frame with an expiry date from the last payment, where the file has none.

    With ``counts_from_joining``, it is from the joining date where there is no payment either.

    A payment that is doubtful says nothing about it, and an expiry date that was emptied on purpose
    stays empty.
    """
    payment = pl.col("last_payment")
    if counts_from_joining:
        payment = pl.coalesce(payment, "date_joined")
    is_sound = (payment <= latest_past(today)) & (payment >= pl.col("date_of_birth")).fill_null(
        value=True
    )
    if emptied is not None:
        is_sound &= ~pl.lit(emptied)
    counted = pl.when(is_sound).then(payment).dt.offset_by(f"{MEMBERSHIP_MONTHS}mo")
    given = pl.col("expiry_date")
    return frame.with_columns(
        expiry_date=pl.coalesce(given, counted),
        expiry_is_derived=pl.when(given.is_not_null() | counted.is_not_null()).then(
            given.is_null()
        ),
    )
