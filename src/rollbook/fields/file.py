"""Reads a fields file; a mistake in it is a sentence with its line."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn

from rollbook.errors import ConfigurationError
from rollbook.fields.definition import KINDS, OwnField, OwnFields, Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

#: Own fields in one file: with the built-in ones they fit the 63 bits that say which fields a row
#: has.
MOST_FIELDS: Final = 30
MOST_HEADERS: Final = 50
MOST_CHOICES: Final = 10_000
MOST_CHARS: Final = 200
#: A text value's characters.
MOST_TEXT: Final = 2_000
_MOST_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TABLE: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_KEY: Final = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")
_IN_TOML: Final = re.compile(r"\(at line (\d+)[^)]*\)|\(at end of document\)")
_OF_RULE: Final = frozenset({"needed", "refuse", "choices", "choices_file", "pattern"})
_OF_FIELD: Final = _OF_RULE | {"headers", "type", "least", "most", "decimals"}
#: Kinds whose values have an order, or characters to count.
_BOUNDED: Final = frozenset({"text", "integer", "decimal", "date"})
#: Kinds whose values can be compared with choices and patterns.
_TEXTS: Final = frozenset({"text", "phone", "e-mail"})
#: The kind of each built-in field that may have a rule; any other is none of a member's.
BUILT_IN: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("firstname", "surname", "race", "language", "residential_address", "occupation",
         "qualification", "province", "region", "municipality", "ward", "voting_station",
         "voting_district", "subscription", "status"),
        "text",
    ),
    "cell_number": "phone", "landline_number": "phone", "email": "e-mail",
    "date_joined": "date", "last_payment": "date", "expiry_date": "date",
    "membership_amount": "decimal", "date_of_birth": "birth",
}  # fmt: skip


def read(path: Path) -> OwnFields:
    """Read a fields file.

    That no header is a built-in field's is checked where those are known (``pipeline.columns``).

    Raises:
        ConfigurationError: it can't be read or has a mistake.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"ROLLBOOK_FIELDS_FILE names {str(path)!r}, which can't be read ({error.strerror})."
        ) from error
    return _File(path, content).read()


class _File:
    """One fields file, and where its keys are."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content
        self._lines: dict[tuple[str, str | None], int] = {}

    def read(self) -> OwnFields:
        if len(self._content) > _MOST_BYTES:
            self._refuse(1, "The file has more than 1 MB, which no fields file needs.")
        try:
            text = self._content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self._content[: error.start].count(b"\n") + 1
            self._refuse(line, "The file is not UTF-8. Save it as UTF-8.")
        try:
            found = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            match = _IN_TOML.search(str(error))
            line = int(match[1]) if match and match[1] else text.count("\n") + 1
            said = _IN_TOML.sub("", str(error)).strip()
            self._refuse(line, f"This is not TOML: {said}.")
        self._find_lines(text)
        for name in found:
            if name not in {"fields", "rules"}:
                self._wrong(name, None, f"There is no part {name!r}. The parts are fields, rules.")
        own = self._own_fields(self._tables(found, "fields"))
        rules = [
            (name, self._built_in(name, table))
            for name, table in self._tables(found, "rules").items()
        ]
        return OwnFields(tuple(own), tuple(rules))

    def _own_fields(self, tables: dict[str, dict[str, Any]]) -> list[OwnField]:
        if len(tables) > MOST_FIELDS:
            where = f"fields.{list(tables)[MOST_FIELDS]}"
            self._wrong(where, None, f"There are {len(tables)} fields; {MOST_FIELDS} can be used.")
        headers: dict[str, str] = {}
        return [self._own_field(name, table, headers) for name, table in tables.items()]

    def _own_field(self, name: str, table: dict[str, Any], taken: dict[str, str]) -> OwnField:
        where = f"fields.{name}"
        if not _NAME.fullmatch(name):
            self._wrong(
                where, None, f"{name!r} is no name of a field: use a to z, 0 to 9 and _, and begin "
                "with a letter."
            )  # fmt: skip
        self._only(where, table, _OF_FIELD)
        kind = table.get("type", "text")
        if kind not in KINDS:
            self._wrong(where, "type", f"There is no type {kind!r}. Types are {', '.join(KINDS)}.")
        headers = self._texts(where, "headers", table.get("headers"), MOST_HEADERS)
        for header in headers:
            folded = _folded(header)
            if taken.setdefault(folded, name) != name:
                other = taken[folded]
                self._wrong(where, "headers", f"The header {header!r} is the field {other}'s too.")
        decimals = table.get("decimals", 2)
        if "decimals" in table and kind != "decimal":
            self._wrong(where, "decimals", "Only the type decimal has decimals.")
        if type(decimals) is not int or not 0 <= decimals <= 6:
            self._wrong(where, "decimals", "Give a number from 0 to 6.")
        line = self._lines.get((where, "headers"), self._lines.get((where, None), 1))
        return OwnField(name, headers, kind, self._rule(where, table, kind), decimals, line)

    def _built_in(self, name: str, table: dict[str, Any]) -> Rule:
        where = f"rules.{name}"
        kind = BUILT_IN.get(name)
        if kind is None:
            self._wrong(
                where, None, f"No rule can be made for {name!r}. Rules are for "
                f"{', '.join(sorted(BUILT_IN))}."
            )  # fmt: skip
        if kind == "birth":
            self._only(where, table, {"least_age"})
            age = table.get("least_age")
            if type(age) is not int or not 0 < age < 130:
                self._wrong(where, "least_age", "Give the least age in years, such as 18.")
            return Rule(refuse=True, least_age=age)
        # Its spelling is the register's, which is looked up later.
        is_place = name == "municipality"
        self._only(where, table, {"needed"} if is_place else _OF_RULE | {"least", "most"})
        return self._rule(where, table, kind)

    def _rule(self, where: str, table: dict[str, Any], kind: str) -> Rule:
        least, most = (self._bound(where, name, table, kind) for name in ("least", "most"))
        if least is not None and most is not None and least > most:
            self._wrong(where, "least", f"least is {least} and most is {most}: no value fits.")
        return Rule(
            needed=self._yes(where, "needed", table),
            refuse=self._yes(where, "refuse", table),
            choices=self._choices(where, table, kind),
            pattern=self._pattern(where, table, kind),
            least=least,
            most=most,
        )

    def _bound(self, where: str, name: str, table: dict[str, Any], kind: str) -> Any:
        if name not in table:
            return None
        value = table[name]
        if kind not in _BOUNDED:
            self._wrong(where, name, f"The type {kind} has no {name}.")
        if kind == "date":
            if type(value) is not dt.date:
                self._wrong(where, name, "Give a date without quotation marks: 2020-12-31.")
            return value
        if kind == "decimal" and type(value) is float:
            value = Decimal(str(value))
            if not value.is_finite():
                self._wrong(where, name, "Give a number.")
            return value
        if type(value) is not int:
            self._wrong(where, name, "Give a whole number.")
        if kind == "text" and not 0 <= value <= MOST_TEXT:
            self._wrong(where, name, f"A text has 0 to {MOST_TEXT} characters.")
        return Decimal(value) if kind == "decimal" else value

    def _choices(self, where: str, table: dict[str, Any], kind: str) -> tuple[str, ...] | None:
        name = "choices_file" if "choices_file" in table else "choices"
        if name not in table:
            if kind == "choice":
                self._wrong(where, None, "A choice needs choices, or a choices_file.")
            return None
        if {"choices", "choices_file"} <= table.keys():
            self._wrong(where, "choices_file", "Give either choices or a choices_file.")
        if kind not in {"choice", *_TEXTS}:
            self._wrong(where, name, f"The type {kind} has no choices.")
        given = table[name]
        if name == "choices_file":
            given = self._listed(where, given)
        texts = self._texts(where, name, given, MOST_CHOICES)
        folded: dict[str, str] = {}
        for text in texts:
            if folded.setdefault(_folded(text), text) != text:
                other = folded[_folded(text)]
                self._wrong(where, name, f"{text!r} and {other!r} can't be told apart.")
        return texts

    def _listed(self, where: str, given: object) -> list[str]:
        """The lines of a file of choices, whose path is relative to this file's folder."""
        if not isinstance(given, str):
            self._wrong(where, "choices_file", "Give the path of a text file, one choice a line.")
        path = self._path.parent / given
        try:
            content = path.read_bytes()
            if len(content) > _MOST_BYTES:
                self._wrong(where, "choices_file", f"{str(path)!r} has more than 1 MB.")
            text = content.decode("utf-8-sig")
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or "it is not UTF-8"
            self._wrong(where, "choices_file", f"{str(path)!r} can't be read: {said}.")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _pattern(self, where: str, table: dict[str, Any], kind: str) -> str | None:
        if "pattern" not in table:
            return None
        pattern = table["pattern"]
        if kind not in _TEXTS:
            self._wrong(where, "pattern", f"The type {kind} has no pattern.")
        if not isinstance(pattern, str) or not 0 < len(pattern) <= MOST_CHARS:
            self._wrong(where, "pattern", f"Give a text of 1 to {MOST_CHARS} characters.")
        import polars as pl  # noqa: PLC0415 - 40 MB, and few files have a pattern

        try:
            for one in (pattern, whole(pattern)):
                pl.Series([""]).str.contains(one)
        except pl.exceptions.PolarsError as error:
            said = str(error).strip().splitlines()[-1].removeprefix("error: ")
            self._wrong(where, "pattern", f"The pattern can't be used: {said}.")
        return pattern

    def _yes(self, where: str, name: str, table: dict[str, Any]) -> bool:
        value = table.get(name, False)
        if type(value) is not bool:
            self._wrong(where, name, "Give true or false.")
        return value

    def _texts(self, where: str, name: str, given: object, most: int) -> tuple[str, ...]:
        if not isinstance(given, list) or not 0 < len(given) <= most:
            line = name if (where, name) in self._lines else None
            self._wrong(where, line, f"Give {name}: a list of 1 to {most:,} texts.")
        for text in given:
            if not isinstance(text, str) or not _folded(text) or len(text) > MOST_CHARS:
                self._wrong(
                    where, name, f"{str(text)[:40]!r} can't be used: give texts with a letter or "
                    f"digit, of at most {MOST_CHARS} characters."
                )  # fmt: skip
            if not text.isprintable() or text != text.strip():
                self._wrong(where, name, f"{text!r} has signs or spaces that can't be seen.")
        return tuple(dict.fromkeys(given))

    def _tables(self, found: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
        tables = found.get(part, {})
        if not isinstance(tables, dict):
            self._wrong(part, None, f"{part} is a table: write [{part}.name].")
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._wrong(part, name, f"{name!r} is no table: write [{part}.{name}].")
        return tables

    def _only(self, where: str, table: dict[str, Any], known: Collection[str]) -> None:
        for name in table:
            if name not in known:
                self._wrong(
                    where, name, f"There is no key {name!r} here. Keys are "
                    f"{', '.join(sorted(known))}."
                )  # fmt: skip

    # --- lines ------------------------------------------------------------------------------------

    def _find_lines(self, text: str) -> None:
        """Note the line of each table and of each key that begins a line."""
        where = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if match := _TABLE.fullmatch(line):
                where = ".".join(part.strip(" \t\"'") for part in match[1].split("."))
                self._lines.setdefault((where, None), number)
            elif match := _KEY.match(line):
                self._lines.setdefault((where, match[1]), number)

    def _wrong(self, where: str, name: str | None, said: str) -> NoReturn:
        lines = self._lines
        part, _, rest = where.partition(".")
        places = ((where, name), (where, None), (part, rest), ("", part), (part, None))
        below = (line for (table, _), line in lines.items() if table.startswith(f"{where}."))
        line = next((lines[place] for place in places if place in lines), next(below, 1))
        self._refuse(line, f"[{where}]{f' {name}' if name else ''}: {said}")

    def _refuse(self, line: int, said: str) -> NoReturn:
        raise ConfigurationError(
            f"ROLLBOOK_FIELDS_FILE, {str(self._path)!r}, line {line}: {said} Correct the file and "
            "start again."
        )


def whole(pattern: str) -> str:
    """A pattern that must match the whole text."""
    return f"^(?:{pattern})$"


def _folded(text: str) -> str:
    """A text without case, accents, spaces and punctuation."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(filter(str.isalnum, plain))
