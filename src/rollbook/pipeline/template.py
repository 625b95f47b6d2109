"""The workbook that a person fills in: the columns, their drop-down lists, and a note on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollbook import clock, fields, places
from rollbook.languages import has, phrase
from rollbook.pipeline import problems
from rollbook.pipeline.columns import FULL_NAME, title, variants
from rollbook.pipeline.values import values
from rollbook.spreadsheets.workbook import AnyCell, Cell, FormColumn, Kind, Look, WorkbookWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rollbook.model import Scope

#: Formats of cells. All others are text, so that numbers keep their zeros.
_KINDS: Final[Mapping[str, Kind]] = {
    "date_joined": Kind.DATE,
    "last_payment": Kind.DATE,
    "expiry_date": Kind.DATE,
    "membership_amount": Kind.REAL,
}
#: Two made-up people, whom the notes show as examples; the others of their values are the office's.
_PEOPLE: Final[tuple[Mapping[str, str], ...]] = (
    {
        "id_number": "8001015009087", "firstname": "Sipho", "surname": "Mokoena",
        "cell_number": "082 123 4567", "email": "sipho@example.org", "race": "African",
        "language": "Sesotho", "ward": "12", "date_joined": "2024-03-31",
        "last_payment": "2026-03-15", "membership_amount": "10.00",
    },
    {
        "id_number": "9202204720083", "firstname": "Anna", "surname": "Van der Merwe",
        "cell_number": "+27 83 123 4567", "residential_address": "1 Long Street",
        "race": "White", "language": "Afrikaans", "ward": "3", "date_joined": "2025-11-01",
        "last_payment": "2025-11-01", "membership_amount": "20.00",
    },
)  # fmt: skip


def write_template(path: Path, scope: Scope) -> None:
    """Write the template of an office to ``path``, in the spoken language."""
    sheet = phrase("template.sheet")
    titles = {field: title(field) for field in variants() if field != FULL_NAME}
    choices = {field: _choices(field, scope) for field in titles}
    people = _people(scope)
    heading = phrase("template.notes.title", sheet=sheet)
    rows: list[list[AnyCell]] = [[Cell(heading, Look.TITLE)], []]
    rows += [[phrase("template.rows", sheet=sheet)], [phrase("template.empty")], []]
    heads = ("column", "first", "second", "what")
    rows.append([Cell(phrase(f"template.notes.{key}"), Look.HEADER) for key in heads])
    rows += [
        [Cell(name, Look.LABEL), *(person.get(field) for person in people), _note(field)]
        for field, name in titles.items()
    ]
    columns = [FormColumn(name, _kind(field), choices[field]) for field, name in titles.items()]
    with WorkbookWriter(
        path, title=phrase("template.title"), fills={}, created=clock.now()
    ) as workbook:
        workbook.add_form(
            sheet, columns, lists=phrase("template.lists"), question=phrase("template.question")
        )
        workbook.add_cells(phrase("template.notes"), rows)


def _kind(field: str) -> Kind:
    own = fields.current().by_key.get(field)
    return Kind.DATE if own is not None and own.kind == "date" else _KINDS.get(field, Kind.TEXT)


def _choices(field: str, scope: Scope) -> Sequence[str]:
    """The values that a column is known to have; none where anything may be written."""
    if own := fields.current().by_key.get(field):
        yes_or_no = (phrase("refused.yes"), phrase("refused.no"))
        return yes_or_no if own.kind == "yes/no" else own.rule.choices or ()
    match field:
        case "gender":
            return [phrase(f"template.gender.{value}") for value in ("female", "male")]
        case "race" | "language":
            return list(values()[field])
        case "province":
            codes = [scope.province] if scope.province else places.provinces()
            return [places.provinces()[code].name for code in codes]
        case "municipality":
            names = [one.name for one in _municipalities(scope)]
            return [scope.municipality] if scope.municipality else names
        case _:
            return ()


def _municipalities(scope: Scope) -> Sequence[places.Municipality]:
    """Those of the office's province, or all, by name."""
    found = places.municipalities().values()
    within = [one for one in found if scope.province in {None, one.province}]
    return sorted(within, key=lambda one: one.name)


def _people(scope: Scope) -> list[Mapping[str, str]]:
    """The examples as members of the office, in the spoken language."""
    male, female = (phrase(f"template.gender.{value}") for value in ("male", "female"))
    homes = _municipalities(scope)
    return [
        {
            "gender": gender,
            "province": places.provinces()[home.province].name,
            "municipality": scope.municipality or home.name,
            **person,
        }
        for person, gender, home in zip(_PEOPLE, (male, female), homes, strict=False)
    ]


def _note(field: str) -> str | None:
    """What belongs into a column; of an own field, in the words of its problems."""
    own = fields.current().by_key.get(field)
    if own is None:
        key = f"template.note.{field}"
        return phrase(key) if has(key) else None
    needed = [phrase("template.required")] if own.rule.needed else []
    return " ".join([*needed, *problems.asked_of(own)])
