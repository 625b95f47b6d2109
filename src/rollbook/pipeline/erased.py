"""Rows about people who were erased on request: they are refused until the person is readmitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from rollbook.accounts.erased import erased_hash
from rollbook.accounts.tokens import key_id
from rollbook.backends.database import queries
from rollbook.errors import ServiceUnavailableError
from rollbook.pipeline.problem_table import completed
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.pipeline.validate import Validated

CODE = "person_erased"

_SQL = queries("members")


@dataclass(frozen=True, slots=True)
class Erased:
    """The people who were erased, by the keyed hashes of their ID numbers."""

    #: By the key under which they were made.
    hashes: Mapping[str, frozenset[bytes]]

    @classmethod
    def read(cls, connection: Connection[Row], keys: Sequence[str]) -> Erased:
        """Read who was erased.

        Raises:
            ServiceUnavailableError: this machine hasn't the key of a hash, so that an erased person
                would be taken in unseen.
        """
        by_id = {key_id(key): key for key in keys}
        found: dict[str, set[bytes]] = {}
        rows = connection.execute(_SQL["erased"]).fetchall()
        connection.commit()
        for row in rows:
            if row["key_id"] not in by_id:
                raise ServiceUnavailableError(
                    "This worker doesn't have the secret key with which erased people are known. "
                    "Nothing was changed. The operator has to give all machines the same "
                    "ROLLBOOK_SECRET_KEY, and a key that was changed in "
                    "ROLLBOOK_FORMER_SECRET_KEYS or ROLLBOOK_ERASURE_KEYS."
                )
            found.setdefault(by_id[row["key_id"]], set()).add(bytes(row["hash"]))
        return cls({key: frozenset(hashes) for key, hashes in found.items()})

    def holds(self, id_number: str) -> bool:
        """Whether the person with this ID number was erased."""
        return any(erased_hash(key, id_number) in hashes for key, hashes in self.hashes.items())

    def refuse(self, validated: Validated, header: str | None) -> Validated:
        """Refuse the rows that are about erased people.

        The problem repeats no cell, so that nothing of the person is stored again; it names the
        file's header of ID numbers.
        """
        if not self.hashes:
            return validated
        rows = validated.rows
        numbers = rows.filter(verdict="valid").select(ROW_NUMBER, "id_number")
        gone = [number for number, text in numbers.iter_rows() if self.holds(text)]
        if not gone:
            return validated
        is_gone = pl.col(ROW_NUMBER).is_in(gone)
        said = completed(pl.DataFrame({ROW_NUMBER: gone, "column": header, "code": CODE}))
        return replace(
            validated,
            rows=rows.with_columns(
                verdict=pl.when(is_gone).then(pl.lit("invalid")).otherwise("verdict")
            ),
            problems=pl.concat([validated.problems.filter(~is_gone), said]).sort(
                ROW_NUMBER, maintain_order=True
            ),
        )
