"""A member's fields as somebody types them, read by the rules of a file's row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from rollbook.fields.definition import PREFIX
from rollbook.pipeline import own_fields, problems, remarks
from rollbook.pipeline.columns import FULL_NAME, map_headers, variants
from rollbook.pipeline.normalise import MEMBERSHIP_MONTHS, normalise
from rollbook.pipeline.read import ROW_NUMBER, Sheet
from rollbook.pipeline.validate import validate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from rollbook.backends.database import Row
    from rollbook.model import Scope


@dataclass(frozen=True, slots=True)
class Corrected:
    """What the given texts mean."""

    #: The values of the given fields, and what follows from them.
    values: dict[str, Any]
    #: Why it can't be taken: ``(field, sentence)``; empty where it can.
    refused: list[tuple[str, str]]
    #: What is doubtful, but was accepted.
    doubts: list[tuple[str, str]]


def corrected(
    member: Row,
    given: Mapping[str, str | None],
    *,
    today: dt.date,
    scope: Scope,
    counts_from_joining: bool = False,
) -> Corrected:
    """Read what was typed for a member, by field, as a row's cells; None or "" empties a field.

    ``today`` decides the century of two-digit years. The member must stay in the scope.

    Returns:
        ``expiry_date`` and ``expiry_is_derived`` are among the values where either date was given.
    """
    texts = {**_as_texts(member), **{name: value or None for name, value in given.items()}}
    if "expiry_date" not in given and is_derived(member):
        # It follows from the last payment.
        texts["expiry_date"] = None
    headers = {field: names[0] for field, names in variants().items() if field in texts}
    frame = pl.DataFrame(
        {headers[field]: [text] for field, text in texts.items()},
        schema=dict.fromkeys((headers[field] for field in texts), pl.String),
    )
    sheet = Sheet(
        frame.select(pl.lit(2, pl.UInt32).alias(ROW_NUMBER), pl.all()),
        "Members",
        map_headers(frame.columns),
        "",
    )
    normalised = normalise(
        sheet, today, accepts_passports=True, counts_from_joining=counts_from_joining
    )
    validated = validate(normalised, sheet, scope)
    row = validated.rows.row(0, named=True)
    own = json.loads(validated.rows.select(own_fields.as_json(validated.rows)).item() or "{}")
    values = {
        name: own.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else row[name]
        for name in given
    }
    dates = {"expiry_date", "last_payment", *(("date_joined",) if counts_from_joining else ())}
    if dates & given.keys():
        values |= {name: row[name] for name in ("expiry_date", "expiry_is_derived")}
    refused: list[tuple[str, str]] = []
    doubts: list[tuple[str, str]] = []
    fields = {header: field for field, header in headers.items()}
    for problem in validated.problems.iter_rows(named=True):
        field = fields.get(problem["column"])
        # Who types that a person has left doesn't have to be told of it.
        if field is None or field not in given or problem["code"] in remarks.CODES:
            continue
        said = (field, problems.sentence(problem["code"]))
        kind = problems.catalogue()[problem["code"]]
        is_error = kind.severity == "error" or kind.leaves_out or values[field] is None
        (refused if is_error else doubts).append(said)
    for name in ("firstname", "surname"):
        if name in given and row[name] is None and name not in dict(refused):
            refused.append((name, problems.sentence(f"{name}_missing")))
    return Corrected(values, refused, doubts)


def is_derived(member: Row) -> bool:
    """Whether the member's expiry date comes from the last payment.

    If an older version merged the member, the dates show it.
    """
    if member["expiry_is_derived"] is not None or member["last_payment"] is None:
        return bool(member["expiry_is_derived"])
    payment = pl.Series([member["last_payment"]], dtype=pl.Date)
    counted: dt.date = payment.dt.offset_by(f"{MEMBERSHIP_MONTHS}mo").item()
    return bool(counted == member["expiry_date"])


def _as_texts(member: Row) -> dict[str, str | None]:
    """The member's fields as cells."""
    values = dict(member)
    if member["identity_kind"] is not None:
        # The key in the place of the ID number isn't one.
        values |= {
            "id_number": None,
            "passport_number": member["identity_number"],
            "passport_country": member["identity_country"],
        }
    values |= {PREFIX + name: value for name, value in (member["own_fields"] or {}).items()}
    return {
        name: None if values.get(name) is None else str(values[name])
        for name in variants()
        if name not in {FULL_NAME, "age"}
    }
