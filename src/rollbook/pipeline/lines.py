"""Lines between the members: a place that is written once above its members, titles, page numbers.

Such a row has one text, or a label and its value, and no number of a person. It is no member. A
place in it, such as "WARD 12" or "Branch: Soweto", is that of the rows below it, if the lines are
titles for certain: the first of them is above all members. It is carried down in a column of its
own, so that the sender sees it in the report and can choose that it is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import polars as pl

from rollbook import places
from rollbook.languages import MOST_LISTED, listed, phrase
from rollbook.masking import masked
from rollbook.pipeline import no_members
from rollbook.pipeline.columns import FULL_NAME, ColumnMap, key, map_headers, title, unique_headers
from rollbook.pipeline.header import ROW_NUMBER, is_number, one_line
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from rollbook.pipeline.header import Header

#: The places that are written once for several members, from the largest on: a line ends those of
#: smaller ones above it.
PLACES: Final = (
    "province", "region", "municipality", "ward", "voting_district", "voting_station",
)  # fmt: skip
_NAMES: Final = ("firstname", "surname", FULL_NAME)
_ADDRESS: Final = "residential_address"
#: Rows in which the next group is looked for, where a line above the headers may be a title, and
#: texts that are remembered: a list has hardly more titles.
_MOST_SEARCHED: Final = 2_000
_MOST_QUOTED: Final = 40
#: Cells of a line: its text, or a label and its value.
_MOST_CELLS: Final = 2
_WARD: Final = re.compile(
    r"^(?:(?:ward|wyk|iwadi)\s*(?:no|nr|number|nommer)?\.?\s*[:#-]?|w)\s*([0-9]{1,3}|[0-9]{8})\b"
    r"[^0-9]*(?:\b20[0-9]{2})?[^0-9]*$",
    re.IGNORECASE,
)
_DISTRICT: Final = re.compile(
    r"^(?:vd|voting district|stemdistrik)\s*(?:no|nr|number|code)?\.?\s*[:#-]?\s*"
    r"([0-9]{8})\b[^0-9]*$",
    re.IGNORECASE,
)
#: Words that a line of a place begins with, whatever else it has.
_PLACE_WORD: Final = (
    r"(?i)^\s*(?:(?:ward|wyk|iwadi|vd|voting district|stemdistrik|branch|tak|igatsha|isebe)"
    r"(?:[^a-z]|$)|w[0-9])"
)
#: Words that count members, so that the line is below them.
_COUNTS: Final = re.compile(r"\b(?:totals?|subtotal|count|totaal|getal|members? *:)", re.IGNORECASE)
#: Words of titles of groups, which no name of a person has.
_TITLE: Final = re.compile(
    r"\b(?:members?|membership|branch|committee|lede|lidmaatskap|tak|amalungu|igatsha|isebe)\b",
    re.IGNORECASE,
)
#: The lines of a page, which end no group of members.
_OF_PAGE: Final = re.compile(
    r"^(?:page|bladsy|ikhasi|iphepha)\b.*[0-9]|^- ?[0-9]{1,4} ?-$", re.IGNORECASE
)
#: Texts of a title above the headers, beside which a year, a ward or a date may be, and the columns
#: in which they are looked for.
_MOST_TITLE_TEXTS: Final = 3
_MOST_TITLE_COLUMNS: Final = 100
_BRACKETS: Final = re.compile(r"\([^()]*\)")
_LETTERS: Final = re.compile(r"[^\W\d_]{3}")
#: From so many digits on, a text may be a number of a person. A sentence without an ID number is
#: none.
_PERSON_DIGITS: Final = 5
_SENTENCE_WORDS: Final = 6
#: Characters of an ID number: without its zeros, and with separators.
_ID_CHARS: Final = (11, 20)
#: Digits of a ward's number, which may be a title by itself.
_SHORT_NUMBER: Final = 3
_ID_NUMBER: Final = re.compile(r"(?:[0-9][ .-]?){13}")
_RUNNING_NUMBER: Final = re.compile(r"^[0-9]{1,6}(?:[.)]|\.0)?$")


class _Line(NamedTuple):
    """A row that is a line."""

    row: int
    #: One that is ``unclear`` may be a member's row, and ends a group all the same.
    kind: Literal["place", "text", "page", "running number", "total", "unclear"]
    text: str = ""
    #: Of a place.
    field: str = ""
    value: str = ""


class Lines:
    """Finds the lines of a table, batch by batch, and carries the places in them down."""

    def __init__(
        self,
        header: Header,
        first: pl.DataFrame,
        *,
        is_removal: bool = False,
        takes_away: bool = False,
    ) -> None:
        """``first`` are the first rows of the table with their own cells, from its first row on.

        With ``is_removal``, "RESIGNED" is no doubt: the list is of people to be removed, or its
        sender has named the sheet ``Resigned``. With ``takes_away`` it is the former, and the
        people below "ACTIVE MEMBERS" are not to go.
        """
        self._header, self._is_removal, self._takes_away = header, is_removal, takes_away
        #: The problem of the rows in ``doubted``.
        self.code = "member_stays" if takes_away else "below_no_members"
        self._id_column = header.id_column
        known = header.columns.known
        names = header.names
        #: The columns that hold a field of the member beside the number: a lone text there may be
        #: a person's name or address.
        self._of_members = {
            column
            for column, name in enumerate(names)
            if name in known and column != self._id_column
        }
        #: Those of names, and those in which a text goes on from the row above, as an address does.
        self._of_names = {column for column in self._of_members if known[names[column]] in _NAMES}
        self._of_details = self._of_members - self._of_names
        self._of_addresses = {at for at in self._of_details if known[names[at]] == _ADDRESS}
        #: What a row of titles of columns has, which comes with the headers on each page.
        self._groups = {column: text for column, text in enumerate(header.groups) if text}
        self._most_cells = max(_MOST_CELLS, len(self._groups))
        self._given = {key(name): field for name, field in header.given.items()}
        self._has_members = False
        #: The place that the rows below have, by field.
        self._carried: dict[str, str] = {}
        #: The names of the columns of places that are carried, by field.
        self._columns: dict[str, str] = {}
        #: The texts of titles: one that comes again is that of a page.
        self._texts = {
            text for row in first.head(header.index).iter_rows() for text in map(one_line, row)
        }
        #: By the code of their note, the first lines and how many there are.
        self._first: dict[str, list[_Line]] = {}
        self._counts: Counter[str] = Counter()
        #: The field of each text that may be a place of the register.
        self._places: dict[str, str | None] = {}
        #: Whether a title above the headers says that people are no members. It counts for all
        #: rows, up to a line of members.
        self.is_titled_so = not is_removal and self._has_title_of_no_members(first)
        #: Whether the rows below are those of people who are no members, as the line says.
        self._is_doubted = self.is_titled_so
        #: The numbers of such rows among those of the last call of ``apart``.
        self.doubted: list[int] = []
        #: Members that no line names a place of, though lines above do.
        self._without_place = 0
        for line in self._above(first):
            self._take(line)

    @property
    def carried(self) -> frozenset[str]:
        """The fields whose places are carried."""
        return frozenset(self._columns)

    def apart(
        self, part: pl.DataFrame, own: pl.DataFrame, has_value: pl.Series, totals: Collection[int]
    ) -> tuple[pl.DataFrame, pl.Series]:
        """Tell the lines of some rows from the members, and add the carried places to these.

        Args:
            part: rows of the table with their numbers.
            own: their own cells, without the values of merged ones.
            has_value: which of them may be members.
            totals: the numbers of the rows that add up the list; they end a group.

        Returns:
            The rows with the columns of carried places in front, and which may be members.
        """
        lines = [_Line(row, "total") for row in totals]
        lines += self._lines(part, own, has_value)
        if not (lines or self._columns or self._is_doubted):
            self._has_members = self._has_members or bool(has_value.any())
            self.doubted = []
            return part, has_value
        lines.sort()
        self.doubted = []
        first = int(part[0, ROW_NUMBER])
        at = [line.row - first for line in lines]
        left_out = [line.row - first for line in lines if line.kind != "unclear"]
        has_value = has_value.scatter(left_out, [False] * len(left_out))
        pieces: list[tuple[int, dict[str, str]]] = []
        start = 0
        for line, place in zip([*lines, None], [*at, part.height], strict=True):
            pieces.append((place - start, dict(self._carried)))
            members = int(has_value[start:place].sum())
            self._has_members = self._has_members or members > 0
            self._without_place += members if self._columns and not self._carried else 0
            if self._is_doubted:
                self.doubted += (has_value[start:place].arg_true() + first + start).to_list()
            if line is not None:
                self._take(line)
            start = place
        number, *others = part.get_columns()
        return pl.DataFrame([number, *self._of_places(pieces), *others]), has_value

    def added_to(self, columns: ColumnMap) -> ColumnMap:
        """The columns of the table with those of carried places."""
        known, headers = dict(columns.known), dict(columns.headers)
        left_out, unknown = set(columns.left_out), list(columns.unknown)
        for carried, name in self._columns.items():
            field = self._given.get(key(name), carried)
            if field is None:
                left_out.add(name)
                unknown.append(name)
                continue
            known[name] = field
            headers[field] = (*headers.get(field, ()), name)
        return ColumnMap(known, tuple(unknown), headers, frozenset(left_out))

    def notes(self) -> Iterator[Note]:
        """The notes on the lines so far."""
        columns = ", ".join(f"'{name}'" for name in self._columns.values())
        for code, lines in self._first.items():
            count = self._counts[code]
            values = {"n": count, "lines": _listed(lines, count), "columns": columns}
            yield Note(code, count, values)
        if self._without_place:
            yield Note("place_lines_ended", self._without_place, {"n": self._without_place})

    def _count(self, code: str, line: _Line) -> None:
        self._counts[code] += 1
        first = self._first.setdefault(code, [])
        if len(first) < MOST_LISTED:
            first.append(line)

    def _take(self, line: _Line) -> None:
        """Carry the place of a line down, or end what is carried."""
        match line.kind:
            case "place":
                if not self._takes_away:
                    # "WARD 7 - RESIGNED"
                    says_so = not self._is_removal and no_members.says_no_members(line.text)
                    self._is_doubted = self.is_titled_so or says_so
                self._carry(line)
            case "running number":
                self._count("numbered_rows", line)
            case "total" | "unclear":
                # A member's own place may be that of the line above.
                if not line.field or self._carried.get(line.field) != line.value:
                    self._carried.clear()
            case kind:
                self._count("lines_left_out", line)
                if kind == "text":
                    self._take_title(line.text)
                if len(self._texts) < _MOST_SEARCHED:
                    self._texts.add(line.text)

    def _take_title(self, text: str) -> None:
        """End what is carried, and note whether the people below the title are no members."""
        says_no_members = no_members.says_no_members(text)
        if self._takes_away:
            if says_no_members or text not in self._texts:
                self._carried.clear()
            stays = not says_no_members and no_members.says_stays(text)
            self._is_doubted = stays or (self._is_doubted and not says_no_members)
            return
        is_end = self._is_doubted and no_members.says_members(text)
        # Any other title that comes on each page says nothing of the rows below it.
        if says_no_members or is_end or text not in self._texts:
            self._carried.clear()
            self.is_titled_so = self.is_titled_so and not is_end
            self._is_doubted = self.is_titled_so or (says_no_members and not self._is_removal)

    def _carry(self, line: _Line) -> None:
        if line.field not in self._columns:
            if self._has_members:
                self._count("place_lines_unused", line)
                return
            name = f"{title(line.field)} ({phrase('lines.above')})"
            taken = {ROW_NUMBER, *self._header.names, *self._columns.values()}
            self._columns[line.field] = unique_headers([name], taken)[0]
        for smaller in PLACES[PLACES.index(line.field) + 1 :]:
            self._carried.pop(smaller, None)
        self._carried[line.field] = line.value
        self._count("place_lines", line)

    def _of_places(self, pieces: Sequence[tuple[int, Mapping[str, str]]]) -> list[pl.Series]:
        """The columns of carried places, from how many rows have which."""
        return [
            pl.concat(
                pl.Series(name, [values.get(field)], pl.String).new_from_index(0, rows)
                for rows, values in pieces
            )
            for field, name in self._columns.items()
        ]

    def _has_title_of_no_members(self, first: pl.DataFrame) -> bool:
        """Whether a row above the headers says so, and none that the people are members."""
        rows = first.head(self._header.index)[:, :_MOST_TITLE_COLUMNS].iter_rows()
        titles = [[text for cell in row if (text := one_line(cell))] for row in rows]
        titles = [texts for texts in titles if 0 < len(set(texts)) <= _MOST_TITLE_TEXTS]
        groups = set(self._groups.values())
        says_so = any(
            no_members.title_says_no_members(texts, may_be_headers=groups.issuperset(texts))
            for texts in titles
        )
        return says_so and not any(map(no_members.title_says_members, titles))

    def _above(self, first: pl.DataFrame) -> list[_Line]:
        """The line above the headers that is the title of the first group.

        It is one if a line of the same kind is below the headers: the headers come with each group.
        """
        titles = self._lines_of(first.head(self._header.index))
        above = [line for line in titles if line.kind == "place"]
        if not above:
            return []
        below = first.slice(self._header.index + 1, _MOST_SEARCHED)
        if self._id_column < below.width:
            below = below.filter(~is_number(below.to_series(self._id_column)))
        fields = {line.field for line in self._lines_of(below) if line.kind == "place"}
        return list({line.field: line for line in above if line.field in fields}.values())

    def _lines(self, part: pl.DataFrame, own: pl.DataFrame, has_value: pl.Series) -> list[_Line]:
        """The lines among some rows."""
        suspects = has_value
        has_ids = self._id_column < own.width
        if has_ids:
            # Almost every cell is a number, which is checked quickly.
            ids = own.to_series(self._id_column)
            is_short = (ids.str.len_bytes() <= _SHORT_NUMBER).fill_null(value=False)
            suspects = has_value & ~(is_number(ids) & ~is_short & ~_are_sentences(ids))
        places_ = suspects.arg_true()
        if not len(places_):
            return []
        rows = own[places_]
        is_filled = pl.all().str.strip_chars() != ""
        filled = rows.select(pl.sum_horizontal(is_filled.fill_null(value=False))).to_series()
        few = ((filled <= self._most_cells) | self._begin_with_place(rows)).arg_true()
        those = part[places_.gather(few)]
        # A merged cell has its text in each column.
        across = those.to_series(self._id_column + 1) if has_ids else [None] * len(few)
        found = []
        for number, text, row in zip(
            those.get_column(ROW_NUMBER), across, rows[few].iter_rows(), strict=True
        ):
            line = self._line(number, row, one_line(text))
            if line is not None:
                found.append(line)
                continue
            texts = {at for at, cell in enumerate(row) if one_line(cell)}
            if len(texts) <= self._most_cells and texts - self._of_details:
                found.append(_Line(number, "unclear"))
        return found

    def _lines_of(self, rows: pl.DataFrame) -> Iterator[_Line]:
        for number, row in enumerate(rows.iter_rows(), start=1):
            line = self._line(number, row)
            if line is not None:
                yield line

    def _line(self, number: int, row: Iterable[str | None], across: str = "") -> _Line | None:
        """The line in a row; None where the row may be a member.

        ``across`` is what the column of ID numbers has where merged cells have their text in each.
        """
        cells = [(column, text) for column, cell in enumerate(row) if (text := one_line(cell))]
        texts = [text for _, text in cells]
        if self._groups and cells and all(self._groups.get(at) == text for at, text in cells):
            return _Line(number, "page", " ".join(texts))
        if not cells or len(cells) > _MOST_CELLS:
            return self._wide(number, cells)
        column, text = cells[0]
        is_title = text == across or bool(_TITLE.search(text) or no_members.has_word(text))
        is_of_member = column in self._of_members and not is_title
        # "Ward Nkosi" may be a person: in columns of names, a label has a colon or a number.
        is_person = all(at in self._of_names for at, _ in cells) and not (
            text.endswith(":") or _digits("".join(texts))
        )
        # "Wyk" beside 12 in the column of wards may be a person, too.
        if column in self._of_names and cells[-1][0] in self._of_details:
            is_person = ":" not in text
        place = None if is_person and len(cells) > 1 else _labelled(texts)
        if place is None and not is_of_member and len(texts) == 1:
            place = self._registered(text)
        if place is not None:
            # "Ward 12" may be the second row of an address.
            if len(cells) == 1 and column in self._of_addresses and not is_title:
                return _Line(number, "unclear")
            return _Line(number, "place", " ".join(texts), *place)
        counted = _counted(texts)
        is_right = column > self._id_column and not is_title
        if counted is None and (len(cells) > 1 or is_of_member or is_right):
            return None
        return self._lone(number, column, counted or text)

    @staticmethod
    def _begin_with_place(rows: pl.DataFrame) -> pl.Series:
        """Which rows have a word for a place in their first cell."""
        texts = rows.select(pl.all().str.strip_chars().replace("", None))
        first = texts.select(pl.coalesce(pl.all()).str.contains(_PLACE_WORD)).to_series()
        return first.fill_null(value=False)

    def _wide(self, number: int, cells: Sequence[tuple[int, str]]) -> _Line | None:
        """The line of a place with more beside it, such as "WARD 13", a convenor and a phone.

        Where the rest may be a member's of another place, the row is read as one, but no place
        above it goes on.
        """
        if not cells:
            return None
        column, text = cells[0]
        # "Ward Nkosi" may be a person.
        is_person = column in self._of_names and not (_digits(text) or ":" in text)
        if column in self._of_details or is_person or not re.match(_PLACE_WORD, text):
            return None
        filled = {at for at, _ in cells[1:]}
        is_line = column == self._id_column or not filled & {self._id_column, *self._of_names}
        place = _labelled([text])
        kind: Literal["place", "unclear"] = "place" if place and is_line else "unclear"
        return _Line(number, kind, " ".join(text for _, text in cells), *(place or ()))

    def _registered(self, text: str) -> tuple[str, str] | None:
        """The province or municipality of the register whose code or name a text is."""
        if not _LETTERS.search(text):
            return None
        # A text that is like no place is compared with the names of all.
        if text not in self._places and len(self._places) < _MOST_SEARCHED:
            self._places[text] = _place_of(text)
        field = self._places.get(text)
        return None if field is None else (field, text)

    def _lone(self, number: int, column: int, text: str) -> _Line | None:
        """The line of one text, in or in front of the column of ID numbers."""
        if column < self._id_column and _RUNNING_NUMBER.match(text):
            return _Line(number, "running number")
        # A formula that fails is no title.
        if text.startswith(("#", "=", "Err:")):
            return None
        digits = _digits(text)
        is_sentence = len(text.split()) >= _SENTENCE_WORDS and not _ID_NUMBER.search(text)
        if digits >= _PERSON_DIGITS and not is_sentence:
            return None
        if _OF_PAGE.match(text):
            return _Line(number, "page", text)
        is_text = _LETTERS.search(text) and (not digits or " " in text)
        return _Line(number, "text", text) if is_text else None


def _are_sentences(cells: pl.Series) -> pl.Series:
    """Which cells are longer or shorter than ID numbers and have words: "2 who resigned"."""
    length = cells.str.len_bytes()
    places_ = ((length < _ID_CHARS[0]) | (length > _ID_CHARS[1])).fill_null(value=False).arg_true()
    found = pl.repeat(value=False, n=len(cells), eager=True)
    if not len(places_):
        return found
    words = cells.gather(places_).str.contains(r"\p{L}{3}")
    return found.scatter(places_, words)


def _counted(texts: Sequence[str]) -> str | None:
    """The title of people who are no members, of two texts, where the other counts them."""
    numbers = [text for text in texts if _RUNNING_NUMBER.match(text)]
    others = [text for text in texts if text not in numbers]
    is_title = len(numbers) == len(others) == 1 and no_members.says_no_members(others[0])
    return others[0] if is_title else None


def _labelled(texts: Sequence[str]) -> tuple[str, str] | None:
    """The field and the value of a place with its label: "WARD 12", "Branch:" beside "Soweto"."""
    whole = _BRACKETS.sub(" ", " ".join(texts)).strip()
    if _COUNTS.search(whole):
        return None
    if match := _WARD.match(whole):
        return "ward", match[1]
    if match := _DISTRICT.match(whole):
        return "voting_district", match[1]
    label, sign, value = whole.partition(":")
    if len(texts) == _MOST_CELLS and not (sign and value.strip()):
        label, value = texts[0].rstrip(": "), texts[1]
    label, value = label.strip(), value.strip()
    if not value or ":" in value or _digits(value) >= _PERSON_DIGITS:
        return None
    field = map_headers([label]).known.get(label)
    return (field, value) if field in PLACES else None


def _place_of(text: str) -> str | None:
    province, municipality = places.find_province(text), places.find_municipality(text)
    if province is not None and province.how == "known":
        return "province"
    return "municipality" if municipality is not None and municipality.how == "known" else None


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _listed(lines: Sequence[_Line], count: int) -> str:
    some = [
        f"{line.row} '{masked(line.text)[:_MOST_QUOTED]}'" if line.text else str(line.row)
        for line in lines
    ]
    return listed(some, total=count)
