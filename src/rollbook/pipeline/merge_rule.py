"""Merge rule: each field's value after the merge, as SQL that all statements of a merge share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import sql

from rollbook.pipeline.match import CLAIMED, MEMBER_COLUMNS
from rollbook.pipeline.normalise import MEMBERSHIP_MONTHS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from rollbook.model import Scope

FIELDS: Final = tuple(name for name in MEMBER_COLUMNS if name != "id_number")
#: Fields in which two rows of one ID number can't differ, or which follow from another field.
_FOLLOW: Final = ("date_of_birth", "expiry_is_derived")

_DERIVED: Final = sql.SQL(
    f"(m.last_payment + interval '{MEMBERSHIP_MONTHS} months')::date"
)  # fmt: skip
#: Whether the stored expiry date comes from the last payment. If an older version merged the
#: member, the dates show it.
_IS_DERIVED: Final = sql.SQL("COALESCE(m.expiry_is_derived, m.expiry_date = {})").format(_DERIVED)
#: An ID number says the same of two birth dates a hundred years apart. An age decided for the
#: earlier one; a file without ages doesn't take that back.
_CENTURY_EARLIER: Final = "m.date_of_birth = (excluded.date_of_birth - interval '100 years')::date"
#: Which expiry date counts, and whether it is derived. In words: docs/reference/expiry.md.
_EXPIRY: Final = {
    "update": {
        "expiry_date": """
            CASE WHEN excluded.expiry_is_derived IS NOT TRUE
                 THEN COALESCE(excluded.expiry_date, m.expiry_date)
                 WHEN {is_derived} IS FALSE THEN m.expiry_date
                 ELSE GREATEST(excluded.expiry_date, m.expiry_date) END""",
        "expiry_is_derived": """
            CASE WHEN excluded.expiry_date IS NULL THEN {is_derived}
                 ELSE excluded.expiry_is_derived AND {is_derived} IS NOT FALSE END""",
    },
    "fill": {
        "expiry_date": """
            CASE WHEN m.expiry_date IS NOT NULL THEN m.expiry_date
                 WHEN excluded.expiry_is_derived AND m.last_payment IS NOT NULL THEN {derived}
                 ELSE excluded.expiry_date END""",
        "expiry_is_derived": """
            CASE WHEN m.expiry_date IS NOT NULL THEN {is_derived}
                 ELSE excluded.expiry_is_derived END""",
    },
}


def merge_rule(scope: Scope, existing: str, upload_id: UUID) -> dict[str, sql.Composable]:
    """The SQL fragments that the statements of ``match`` and ``merge`` share, so they can't differ.

    Args:
        scope: the office that sent the file; it takes no member from another one.
        existing: what becomes of members that exist: ``update``, ``fill`` (empty fields only) or
            ``skip``.
        upload_id: what the members' provenance names.
    """
    before = {name: _before(name) for name in FIELDS}
    after = {name: _after(name, existing) for name in FIELDS}
    now = {name: sql.SQL("now_.{}").format(sql.Identifier(name)) for name in FIELDS}
    comma = sql.SQL(", ")
    agrees = sql.SQL("CASE WHEN m.{0} = excluded.{0} THEN {1}::bigint ELSE 0 END")
    return {
        "fields": comma.join(map(sql.Identifier, FIELDS)),
        "before": comma.join(before.values()),
        "after": comma.join(after.values()),
        "names": sql.Literal(list(CLAIMED)),
        "agreed": sql.SQL(" | ").join(
            agrees.format(_name(name), sql.Literal(1 << bit)) for bit, name in enumerate(CLAIMED)
        ),
        "after_payment": after["last_payment"],
        "after_expiry": after["expiry_date"],
        "changed": _joined(_change(name, before[name], after[name]) for name in FIELDS),
        "made": _joined(_change(name, before[name], now[name]) for name in FIELDS),
        "differing": _joined(_difference(name) for name in FIELDS if name not in _FOLLOW),
        "version": sql.SQL("(extract(epoch FROM m.changed_at) * 1000000)::bigint"),
        "existing": sql.Literal(existing),
        "upload_id": sql.Literal(upload_id),
        "province": sql.Literal(scope.province),
        "municipality": sql.Literal(scope.municipality),
    }


def _before(field: str) -> sql.Composable:
    return _IS_DERIVED if field == "expiry_is_derived" else sql.SQL("m.{}").format(_name(field))


def _after(field: str, existing: str) -> sql.Composable:
    """The field's value after the merge: the file's or the stored one, where there are both."""
    policy = "fill" if existing == "fill" else "update"
    if rule := _EXPIRY[policy].get(field):
        return sql.SQL(rule).format(is_derived=_IS_DERIVED, derived=_DERIVED)
    order = "m.{0}, excluded.{0}" if policy == "fill" else "excluded.{0}, m.{0}"
    value = f"COALESCE({order})"
    if field == "date_of_birth":
        value = f"CASE WHEN {_CENTURY_EARLIER} THEN m.date_of_birth ELSE {value} END"
    return sql.SQL(value).format(_name(field))


def _change(field: str, before: sql.Composable, after: sql.Composable) -> sql.Composable:
    """``"field": [before, after]`` as JSON text; null where they are the same."""
    return sql.SQL(
        "CASE WHEN {before} IS DISTINCT FROM {after} THEN {start}"
        " || COALESCE(to_json(({before})::text)::text, 'null') || ','"
        " || COALESCE(to_json(({after})::text)::text, 'null') || ']' END"
    ).format(before=before, after=after, start=sql.Literal(f'"{field}":['))


def _difference(field: str) -> sql.Composable:
    """``"field": the earlier row's value`` as JSON text; null where the repeat doesn't differ."""
    says = "later.{0} IS DISTINCT FROM earlier.{0} AND later.{0} IS NOT NULL"
    if field == "expiry_date":
        says += " AND later.expiry_is_derived IS FALSE"
    text = "{1} || to_json(COALESCE(earlier.{0}::text, ''))::text"
    return sql.SQL(f"CASE WHEN {says} THEN {text} END").format(
        _name(field), sql.Literal(f'"{field}":')
    )


def _joined(entries: Iterable[sql.Composable]) -> sql.Composable:
    return sql.SQL("concat_ws(',', {})").format(sql.SQL(", ").join(entries))


def _name(field: str) -> sql.Identifier:
    return sql.Identifier(field)
