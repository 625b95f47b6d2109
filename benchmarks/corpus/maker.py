"""Makes office files: tables of people with the oddities that real ones have, and their truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from benchmarks.corpus import texts, workbooks
from benchmarks.corpus.cells import DATE_FORMS, Cell, Formula, Medium, Person, Stance, cell, person
from benchmarks.corpus.grid import Grid

if TYPE_CHECKING:
    from random import Random

    from benchmarks.corpus.grid import Value

BOOKS: Final = ("xlsx", "xlsm", "xlsb", "xls", "ods", "fods")
TEXTS: Final = ("csv", "csv", "csv", "tsv", "txt")
#: The headers that offices write for each field: English ones first, then those of others.
HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "id_number": (
        "ID Number", "ID No", "Identity Number", "ID Number (13 digits)", "ID-nommer",
        "Inombolo kamazisi", "ID number/Passport", "id number ",
    ),
    "firstname": ("Firstname", "First Name", "FIRST NAMES", "Voornaam", "Igama", "Leina", "Names"),
    "surname": ("Surname", "SURNAME", "Last Name", "Van", "Isibongo", "Sefane", "Ifani"),
    "cell_number": ("Cell Number", "Cell phone No.", "Mobile", "Selfoonnommer", "Cell\nNumber"),
    "email": ("Email", "E-mail Address", "E-posadres", "e-mail"),
    "province": ("Province", "PROVINCE", "Provinsie", "Isifundazwe"),
    "municipality": ("Municipality", "Local Municipality", "Munisipaliteit", "Umasipala"),
    "ward": ("Ward", "Ward No.", "Wyk", "Iwadi"),
    "date_joined": ("Date Joined", "Join Date", "Datum aangesluit", "DATE JOINED"),
    "last_payment": ("Last Payment", "Last Payment Date", "Laaste betaling", "Date Paid"),
    "membership_amount": ("Membership Amount", "Membership Fee", "Amount (R)", "Amount Paid"),
    "residential_address": ("Residential Address", "Address", "Woonadres", "Home Address"),
}  # fmt: skip
_NEEDED: Final = ("id_number", "firstname", "surname")
#: Headers that are near a known one, and that nobody may take for it untold.
_MISSPELT: Final = {"cell_number": "Cell Nmber", "email": "Emial", "province": "Provnce"}
_GROUPS: Final = {"id_number": "Member", "cell_number": "Contact", "province": "Place",
                  "date_joined": "Membership"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the file and what is right to store of it."""

    number: int
    stance: Stance
    truth: dict[str, str | None]
    #: The fields that can't be read or not surely, so that they must be flagged.
    flagged: frozenset[str] = frozenset()
    #: Whether an earlier row has the same ID number.
    repeats: bool = False

    @property
    def is_right(self) -> bool:
        """Is there nothing in the row to ask about?"""
        return self.stance is Stance.PLAIN and not self.flagged


@dataclass(slots=True)
class OfficeFile:
    """A file and its truth."""

    name: str
    content: bytes
    rows: list[Row]
    #: The field by header.
    headers: dict[str, str]
    #: What is odd about the file as a whole.
    oddities: list[str]
    #: Whether the file must be refused or asked about as a whole, or may be.
    may_be_refused: bool = False


@dataclass(slots=True)
class _Draft:
    chance: Random
    medium: Medium
    oddities: list[str] = field(default_factory=list)
    may_be_refused: bool = False

    def draws(self, share: float, oddity: str) -> bool:
        """Has the file this oddity?"""
        has = self.chance.random() < share
        if has:
            self.oddities.append(oddity)
        return has


def make(seed: int) -> OfficeFile:
    """The file of a number: always the same one."""
    chance = random.Random(seed)  # noqa: S311 - reproducible
    is_book = chance.random() < 0.5
    kind = chance.choice(BOOKS if is_book else TEXTS)
    is_1904 = is_book and kind in workbooks.WITH_1904 and chance.random() < 0.15
    codec = "utf-8" if is_book else chance.choice(texts.CODECS)
    forms = DATE_FORMS if is_book else [form for form in DATE_FORMS if form != "cell"]
    medium = Medium(
        is_book, is_1904, codec, chance.choice(forms), has_results=kind in workbooks.WITH_RESULTS
    )
    draft = _Draft(chance, medium)
    if is_1904:
        draft.oddities.append("1904")
    draft.oddities.append(f"dates {medium.dates}")
    fields = _fields(draft)
    grid, rows, headers = _table(draft, fields)
    if is_book:
        content = workbooks.write(kind, _sheets(draft, grid), chance, is_1904=is_1904)
    else:
        content = texts.write(kind, grid, chance, codec, draft.oddities)
    return OfficeFile(
        f"members-{seed}.{kind}", content, rows, headers, draft.oddities, draft.may_be_refused
    )


def _fields(draft: _Draft) -> list[str]:
    others = [name for name in HEADERS if name not in _NEEDED]
    some = draft.chance.sample(others, draft.chance.randrange(2, len(others) + 1))
    fields = [*_NEEDED, *[name for name in others if name in some]]
    if draft.draws(0.2, "columns in another order"):
        draft.chance.shuffle(fields)
    return fields


def _table(draft: _Draft, fields: list[str]) -> tuple[Grid, list[Row], dict[str, str]]:
    """The sheet with the members."""
    chance = draft.chance
    grid = Grid("Members")
    for _ in range(chance.choice((0, 0, 0, 1, 2)) if draft.medium.has_types else 0):
        grid.rows.append([chance.choice(("Members of the branch", "Updated in March", None))])
    headers = _headers(draft, fields, grid)
    rows: list[Row] = []
    written: list[tuple[Person, list[Cell]]] = []
    repeated_at = chance.randrange(5, 40) if draft.draws(0.08, "headers repeated") else None
    for number in range(chance.randrange(6, 40)):
        if number == repeated_at:
            grid.rows.append(list(grid.rows[grid.header]))
        if chance.random() < 0.02:
            grid.rows.append([None] * len(fields))
        repeats = bool(written) and chance.random() < 0.02
        if repeats:
            who, cells = chance.choice(written)
        else:
            who = person(chance, chance.randrange(10_000))
            if any(who.id_number == other.id_number for other, _ in written):
                continue
            cells = [cell(name, who, chance, draft.medium) for name in fields]
            written.append((who, cells))
        cells = _formulas(draft, fields, cells)
        grid.rows.append([one.value for one in cells])
        rows.append(_row(len(grid.rows), fields, cells, repeats=repeats))
    _day_first(draft, rows)
    if draft.medium.has_types:
        _hide(draft, grid, rows)
        rows = _merge(draft, fields, grid, rows)
    if draft.draws(0.08, "total"):
        total: list[Value] = [None] * len(fields)
        total[0] = f"TOTAL: {len(rows)}"
        grid.rows.append(total)
    unread = {header for header, name in headers.items() if header in _MISSPELT.values()}
    for header in unread:
        rows = [
            replace(row, flagged=row.flagged | {headers[header]})
            for row in rows
        ]  # fmt: skip
    return grid, rows, headers


def _headers(draft: _Draft, fields: list[str], grid: Grid) -> dict[str, str]:
    chance = draft.chance
    names = []
    is_misspelt = draft.draws(0.08, "a misspelt header")
    for name in fields:
        known = HEADERS[name]
        written = known[0] if chance.random() < 0.5 else chance.choice(known)
        if is_misspelt and name in _MISSPELT:
            written, is_misspelt = _MISSPELT[name], False
        if not draft.medium.has_types:
            written = written.replace("\n", " ")
        names.append(written)
    if draft.medium.has_types and "columns in another order" not in draft.oddities and (
        draft.draws(0.1, "two tiers")
    ):  # fmt: skip
        grid.rows.append([_GROUPS.get(name) for name in fields])
    grid.header = len(grid.rows)
    grid.rows.append(list(names))
    return dict(zip(names, fields, strict=True))


def _formulas(draft: _Draft, fields: list[str], cells: list[Cell]) -> list[Cell]:
    """Some cells as formulas, with their results or without."""
    if not draft.medium.has_types or draft.chance.random() > 0.04:
        return cells
    at = draft.chance.randrange(len(cells))
    old = cells[at]
    if isinstance(old.value, str) and draft.medium.has_results and draft.chance.random() < 0.6:
        new = replace(old, value=Formula(old.value))
    elif draft.medium.has_results:
        is_needed = fields[at] in _NEEDED
        stance = Stance.REFUSED if is_needed else Stance.LEFT_OUT
        new = Cell(Formula(None), None, max(stance, old.stance if is_needed else stance))
    else:
        return cells
    return [*cells[:at], new, *cells[at + 1 :]]


def _row(number: int, fields: list[str], cells: list[Cell], *, repeats: bool) -> Row:
    stance = max(one.stance for one in cells)
    if repeats:
        stance = max(stance, Stance.FLAGGED)
    return Row(
        number,
        stance,
        {name: one.truth for name, one in zip(fields, cells, strict=True)},
        frozenset(
            name
            for name, one in zip(fields, cells, strict=True)
            if one.stance in (Stance.FLAGGED, Stance.LEFT_OUT)
        ),
        repeats,
    )


def _day_first(draft: _Draft, rows: list[Row]) -> None:
    """Where no date of a column has its day after the twelfth, its order can't be known."""
    if draft.medium.dates not in ("day first", "day first dots"):
        return
    for name in ("date_joined", "last_payment"):
        days = [row.truth[name] for row in rows if row.truth.get(name)]
        if days and all(int(str(day)[-2:]) <= 12 for day in days):
            for at, row in enumerate(rows):
                rows[at] = replace(
                    row, stance=max(row.stance, Stance.FLAGGED), flagged=row.flagged | {name}
                )


def _hide(draft: _Draft, grid: Grid, rows: list[Row]) -> None:
    if draft.draws(0.1, "hidden rows"):
        grid.hidden_rows = {row.number for row in draft.chance.sample(rows, min(3, len(rows)))}
    if draft.draws(0.05, "hidden column"):
        grid.hidden_columns = {draft.chance.randrange(len(grid.rows[grid.header]))}


def _merge(draft: _Draft, fields: list[str], grid: Grid, rows: list[Row]) -> list[Row]:
    """A province that is written once for several rows."""
    if "province" not in fields or len(rows) < 6 or not draft.draws(0.1, "merged cells"):
        return rows
    column, size = fields.index("province"), draft.chance.randrange(2, 5)
    first = draft.chance.randrange(len(rows) - size)
    some = rows[first : first + size]
    if some[-1].number - some[0].number != size - 1:
        return rows
    code = some[0].truth["province"]
    for row in some[1:]:
        grid.rows[row.number - 1][column] = None
    grid.merged.append((some[0].number - 1, some[-1].number - 1, column, column))
    for at in range(first, first + size):
        # The municipality may be in another province now, which is a warning.
        stance = max(rows[at].stance, Stance.FLAGGED)
        if rows[at].truth["province"] == code:
            stance = rows[at].stance
        truth = {**rows[at].truth, "province": code}
        rows[at] = replace(rows[at], truth=truth, stance=stance)
    return rows


def _sheets(draft: _Draft, grid: Grid) -> list[Grid]:
    """The sheets of a workbook, with ones beside that aren't to be read."""
    sheets = [grid]
    if draft.draws(0.1, "a hidden sheet first"):
        old = Grid("Archive", is_hidden=True)
        old.rows = [list(row) for row in grid.rows]
        for row in old.rows[grid.header + 1 :]:
            row[0] = None
        people = [person(draft.chance, number) for number in range(3)]
        old.rows += [["ID Number", "Firstname", "Surname"]]
        old.rows += [[one.id_number, one.firstname, one.surname] for one in people]
        sheets.insert(0, old)
    if draft.draws(0.1, "a sheet of notes"):
        notes = Grid("Notes")
        notes.rows = [["Read me"], ["Names are as on the ID"]]
        sheets.insert(draft.chance.randrange(len(sheets) + 1), notes)
    return sheets
