"""Columns of another person than the member: what follows "Next of kin" may be that person's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollbook.pipeline.columns import is_of_other_person, key, map_headers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The fields that a list has of another person as well.
_PERSONAL: Final = frozenset(
    {
        "id_number", "passport_number", "firstname", "surname", "full_name", "cell_number",
        "landline_number", "email", "residential_address", "gender", "age",
    }
)  # fmt: skip


def of_others(
    names: Sequence[str], given: Mapping[str, str | None]
) -> Iterator[tuple[str, str, bool]]:
    """The columns that may be another person's, because they follow one that is.

    The names are in the order of the file. A field that the sender gave for a header counts.

    Yields:
        The column's name, that of the other person's column before it, and whether a column of the
        member's own has the same field, so that this one is the other person's.
    """
    said = {key(name) for name in given}
    known = map_headers(names, given).known
    fields = {name: field for name in names if (field := known.get(name) or _field(name))}
    owner: str | None = None
    found: list[tuple[str, str]] = []
    for name in names:
        if is_of_other_person(name) and name not in known:
            owner = name
        elif name in fields and fields[name] not in _PERSONAL:
            owner = None
        elif name in fields and owner is not None and key(name) not in said:
            found.append((name, owner))
    followers = {name for name, _ in found}
    for name, before in found:
        own = any(fields.get(other) == fields[name] for other in names if other not in followers)
        if own or name in known:
            yield name, before, own


def _field(name: str) -> str | None:
    return map_headers([name]).known.get(name)
