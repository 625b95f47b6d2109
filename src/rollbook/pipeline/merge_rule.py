"""Merge rule: each field's value after the merge, as SQL that all statements of a merge share."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from psycopg import sql

from rollbook import fields
from rollbook.pipeline.emptied import bits
from rollbook.pipeline.match import CLAIMED, MEMBER_COLUMNS, claimed
from rollbook.pipeline.normalise import MEMBERSHIP_MONTHS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from uuid import UUID

    from rollbook.fields import OwnFields
    from rollbook.model import Scope

FIELDS: Final = tuple(name for name in MEMBER_COLUMNS if name != "id_number")
#: The column of the own fields, a JSON document.
_OWN: Final = "own_fields"
#: Fields in which two rows of one ID number can't differ, or which follow from another field.
_FOLLOW: Final = ("date_of_birth", "expiry_is_derived")

_DERIVED: Final = sql.SQL(f"(m.last_payment + interval '{MEMBERSHIP_MONTHS} months')::date")
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

#: The columns of members that say which document a person is known by; null for an ID number.
_IDENTITY: Final = ", identity_kind, identity_country, identity_number"
_IDENTITY_OF: Final = (
    ", split_part(document, ':', 1), split_part(document, ':', 2), split_part(document, ':', 3)"
)
#: The fields that are empty after the merge if the row empties one of these; by default itself.
_SOURCES: Final = {
    "expiry_date": ("expiry_date", "last_payment"),
    "expiry_is_derived": ("expiry_date", "last_payment"),
}
#: A derived expiry date goes with the payment that it follows from.
_OF_PAYMENT: Final = "{is_emptied} AND excluded.expiry_date IS NULL AND {is_derived}"
_EMPTIED_WITH: Final = {
    ("expiry_date", "last_payment"): _OF_PAYMENT,
    ("expiry_is_derived", "last_payment"): _OF_PAYMENT,
}


def merge_rule(
    scope: Scope,
    existing: str,
    upload_id: UUID,
    emptied: Collection[str] = (),
    *,
    has_documents: bool = False,
    has_own: bool = False,
) -> dict[str, sql.Composable]:
    """The SQL fragments that the statements of ``match`` and ``merge`` share, so they can't differ.

    Args:
        scope: the office that sent the file; it takes no member from another one.
        existing: what becomes of members that exist: ``update``, ``fill`` (empty fields only) or
            ``skip``.
        upload_id: what the members' provenance names.
        emptied: the fields that any row empties on purpose; see the query ``note_emptied``.
        has_documents: any row names its person by a passport.
        has_own: the file has columns of own fields.
    """
    return {
        **_shared(fields.current(), existing, frozenset(emptied), has_own=has_own),
        "identity": sql.SQL(_IDENTITY if has_documents else ""),
        "identity_of": sql.SQL(_IDENTITY_OF if has_documents else ""),
        "existing": sql.Literal(existing),
        "upload_id": sql.Literal(upload_id),
        "province": sql.Literal(scope.province),
        "municipality": sql.Literal(scope.municipality),
    }


@lru_cache(maxsize=32)
def _shared(
    own_fields: OwnFields, existing: str, emptied: frozenset[str], *, has_own: bool
) -> Mapping[str, sql.Composable]:
    """The fragments that uploads share, as finished texts: of a small file they took 10 %.

    ``own_fields`` are the ones of this process.
    """
    own = tuple(own_fields.by_key) if has_own else ()
    columns = (*FIELDS, *((_OWN,) if has_own else ()))
    before = {name: _before(name) for name in columns}
    after = {name: _after(name, existing, emptied) for name in columns}
    now = {name: sql.SQL("now_.{}").format(sql.Identifier(name)) for name in columns}
    # What is in the column of own fields is compared one by one.
    singly = (*FIELDS, *own)
    pairs = [(name, _single(name, before), _single(name, after)) for name in singly]
    made = [(name, _single(name, before), _single(name, now)) for name in singly]
    names = claimed() if has_own else CLAIMED
    comma = sql.SQL(", ")
    fragments: dict[str, sql.Composable] = {
        "fields": comma.join(map(sql.Identifier, columns)),
        "before": comma.join(before.values()),
        "after": comma.join(after.values()),
        "names": sql.Literal(list(names)),
        "agreed": sql.SQL(" | ").join(
            sql.SQL("CASE WHEN {} THEN {}::bigint ELSE 0 END").format(
                _agrees(name, emptied), sql.Literal(bits()[name])
            )
            for name in names
        ),
        "after_payment": after["last_payment"],
        "after_expiry": after["expiry_date"],
        "changed": _joined(_change(*pair) for pair in pairs),
        "made": _joined(_change(*pair) for pair in made),
        "differing": _joined(_difference(name, emptied) for name in singly if name not in _FOLLOW),
        "empties": sql.SQL(" OR ").join(_emptied(name, "staged") for name in sorted(emptied)),
        "version": sql.SQL("(extract(epoch FROM m.changed_at) * 1000000)::bigint"),
    }
    # They name fields and bits only, so that they are the same on every connection.
    return {name: sql.SQL(fragment.as_string()) for name, fragment in fragments.items()}


def _before(field: str) -> sql.Composable:
    return _IS_DERIVED if field == "expiry_is_derived" else _of("m", field)


def _of(row: str, field: str) -> sql.Composable:
    """A field's value in a row, which of an own field is a text."""
    own = fields.current().by_key.get(field)
    if own is None:
        return sql.SQL("{}.{}").format(sql.SQL(row), sql.Identifier(field))
    return sql.SQL("({}.own_fields ->> {})").format(sql.SQL(row), sql.Literal(own.name))


def _single(field: str, values: Mapping[str, sql.Composable]) -> sql.Composable:
    """A field's value in the values of all columns."""
    own = fields.current().by_key.get(field)
    if own is None:
        return values[field]
    return sql.SQL("(({}) ->> {})").format(values[_OWN], sql.Literal(own.name))


def _after(field: str, existing: str, emptied: Collection[str]) -> sql.Composable:
    """The field's value after the merge: the file's or the stored one, where there are both."""
    if field == _OWN:
        return _own_after(existing, emptied)
    value = _merged(field, existing)
    # What follows from an emptied field is emptied with it.
    sources = [name for name in _SOURCES.get(field, (field,)) if name in emptied]
    if not sources:
        return value
    clauses = [_EMPTIED_WITH.get((field, name), "{is_emptied}") for name in sources]
    holds = sql.SQL(" OR ").join(
        sql.SQL(clause).format(is_emptied=_is_emptied(name), is_derived=_IS_DERIVED)
        for clause, name in zip(clauses, sources, strict=True)
    )
    return sql.SQL("CASE WHEN {} THEN NULL ELSE {} END").format(holds, value)


def _own_after(existing: str, emptied: Collection[str]) -> sql.Composable:
    """The own fields after the merge, as one document; null where there is none of them."""
    file, stored = "COALESCE(excluded.own_fields, '{{}}')", "COALESCE(m.own_fields, '{{}}')"
    # The right one of two documents wins.
    order = (file, stored) if existing == "fill" else (stored, file)
    value = sql.SQL(" || ".join(order)).format()
    for field in sorted(fields.current().by_key.keys() & set(emptied)):
        # No field has an empty name.
        value = sql.SQL("({}) - CASE WHEN {} THEN {} ELSE '' END").format(
            value, _is_emptied(field), sql.Literal(fields.current().by_key[field].name)
        )
    return sql.SQL("NULLIF({}, '{{}}')").format(value)


def _is_emptied(field: str) -> sql.Composable:
    """Whether the row empties the field, also in an upsert, which sees only members' columns."""
    return sql.SQL(
        "({value} IS NULL AND COALESCE((SELECT e.filled & {bit} <> 0 FROM emptied AS e"
        " WHERE e.member_id = excluded.member_id), false))"
    ).format(value=_of("excluded", field), bit=sql.Literal(bits()[field]))


def _emptied(field: str, row: str) -> sql.Composable:
    """Whether a staged row empties the field."""
    return sql.SQL("({value} IS NULL AND {row}.filled & {bit} <> 0)").format(
        value=_of(row, field), row=sql.SQL(row), bit=sql.Literal(bits()[field])
    )


def _agrees(field: str, emptied: Collection[str]) -> sql.Composable:
    """Whether the record holds what the row says of the field."""
    stored, said = _of("m", field), _of("excluded", field)
    agrees = sql.SQL("{} = {}").format(stored, said)
    if field not in emptied:
        return agrees
    return sql.SQL("{} OR ({} IS NULL AND {})").format(agrees, stored, _emptied(field, "excluded"))


def _merged(field: str, existing: str) -> sql.Composable:
    """The same, but for fields that are emptied on purpose."""
    policy = "fill" if existing == "fill" else "update"
    if rule := _EXPIRY[policy].get(field):
        return sql.SQL(rule).format(is_derived=_IS_DERIVED, derived=_DERIVED)
    order = "m.{0}, excluded.{0}" if policy == "fill" else "excluded.{0}, m.{0}"
    value = f"COALESCE({order})"
    if field == "date_of_birth":
        value = f"CASE WHEN {_CENTURY_EARLIER} THEN m.date_of_birth ELSE {value} END"
    return sql.SQL(value).format(sql.Identifier(field))


def _change(field: str, before: sql.Composable, after: sql.Composable) -> sql.Composable:
    """``"field": [before, after]`` as JSON text; null where they are the same."""
    return sql.SQL(
        "CASE WHEN {before} IS DISTINCT FROM {after} THEN {start}"
        " || COALESCE(to_json(({before})::text)::text, 'null') || ','"
        " || COALESCE(to_json(({after})::text)::text, 'null') || ']' END"
    ).format(before=before, after=after, start=sql.Literal(f'"{field}":['))


def _difference(field: str, emptied: Collection[str]) -> sql.Composable:
    """``"field": the earlier row's value`` as JSON text; null where the repeat doesn't differ."""
    later, earlier = _of("later", field), _of("earlier", field)
    says = "{later} IS DISTINCT FROM {earlier} AND {later} IS NOT NULL"
    if field == "expiry_date":
        says += " AND later.expiry_is_derived IS FALSE"
    if field in emptied:
        says = f"({says}) OR ({{earlier}} IS NOT NULL AND {{empties}})"
    text = "{name} || to_json(COALESCE({earlier}::text, ''))::text"
    return sql.SQL(f"CASE WHEN {says} THEN {text} END").format(
        later=later,
        earlier=earlier,
        name=sql.Literal(f'"{field}":'),
        empties=_emptied(field, "later") if field in emptied else sql.SQL(""),
    )


def _joined(entries: Iterable[sql.Composable]) -> sql.Composable:
    return sql.SQL("concat_ws(',', {})").format(sql.SQL(", ").join(entries))
