"""Made-up members by the million: names of syllables, places of the register, dates and phones."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from rollbook import places
from rollbook.backends.database import connect

if TYPE_CHECKING:
    from psycopg import Connection

    from rollbook.backends.database import Row

#: Members that are made and copied at a time.
BLOCK: Final = 100_000
SYLLABLES: Final = ("ba", "ke", "li", "mo", "nu", "sa", "the", "vi", "zo", "dla", "ngo", "pha")
#: Days of birth from here on, and numbers of people born on one of them.
FIRST_BIRTH: Final = dt.date(1940, 1, 1)
BIRTH_DAYS: Final = 20_000
PER_DAY: Final = 10_000
TODAY: Final = dt.date(2026, 1, 1)
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
COLUMNS: Final = (
    "id_number, firstname, surname, date_of_birth, cell_number, email, province, municipality,"
    " ward, status, date_joined, last_payment, expiry_date, created_by_upload, changed_by_upload"
)
#: Large enough that no two members have one number, and coprime with what it is a step in.
_STEP: Final = 7_368_787
_LINES: Final = """
INSERT INTO member_index (id_number, member_id, province, municipality, name, lexemes)
SELECT id_number, member_id, province, lower(municipality), member_name(firstname, surname),
       search_lexemes(firstname, surname, cell_number, landline_number, email, province,
                      municipality, ward)
FROM members WHERE right(id_number, 1)::int %% 2 = %(half)s ON CONFLICT DO NOTHING"""
#: How many members there are, and whether they are indexed.
STATE: Final = (
    "SELECT (SELECT count(*) FROM members) AS members,"
    " (SELECT filled_to IS NULL FROM member_index_state) AS is_indexed"
)
#: An index as the migrations of Rollbook create it, by name.
_INDEXES = (
    "SELECT indexname AS name, indexdef AS definition FROM pg_indexes"
    " WHERE tablename = 'member_index' AND indexname <> 'member_index_pkey'"
)


def block(first: int, rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """Members number ``first`` to ``first + rows``; no two numbers give one ID number."""
    place = np.arange(first, first + rows, dtype=np.int64) * _STEP % (BIRTH_DAYS * PER_DAY)
    days = [FIRST_BIRTH + dt.timedelta(days=day) for day in range(BIRTH_DAYS)]
    born = pl.Series([days[day] for day in place // PER_DAY], dtype=pl.Date)
    sequence = pl.Series(place % PER_DAY).cast(pl.String).str.zfill(4)
    body = born.dt.strftime("%y%m%d") + sequence + "08"
    found = list(places.municipalities().values())
    # Some municipalities have many times the members of others.
    weights = 1 / np.arange(1, len(found) + 1)
    where = rng.choice(len(found), rows, p=weights / weights.sum())
    first_name, surname = _names(rows, rng), _names(rows, rng)
    joined = (
        pl.Series([TODAY]).gather(np.zeros(rows, np.uint32))
        - pl.Series(rng.integers(1, 3650, rows)).cast(pl.Duration("us")) * 86_400_000_000
    )
    paid = joined + pl.Series(rng.integers(0, 900, rows)).cast(pl.Duration("us")) * 86_400_000_000
    ward = pl.Series(rng.integers(1, 60, rows))
    numbers = pl.Series(rng.integers(0, 10**7, rows)).cast(pl.String).str.zfill(7)
    return pl.DataFrame(
        {
            "id_number": body + _check_digits(body),
            "firstname": first_name,
            "surname": surname,
            "date_of_birth": born,
            "cell_number": "+2782" + numbers,
            "email": first_name.str.to_lowercase() + numbers + "@example.org",
            "province": pl.Series([one.province for one in found]).gather(where),
            "municipality": pl.Series([one.name for one in found]).gather(where),
            "ward": (70_000_000 + 1000 * pl.Series(where) + ward).cast(pl.String),
            "status": pl.Series(["active", "active", "active", "inactive"]).gather(
                rng.integers(0, 4, rows)
            ),
            "date_joined": joined.cast(pl.Date),
            "last_payment": paid.cast(pl.Date),
            "expiry_date": paid.cast(pl.Date).dt.offset_by("24mo"),
            "created_by_upload": pl.repeat(NOBODY, rows, eager=True),
            "changed_by_upload": pl.repeat(NOBODY, rows, eager=True),
        }
    )


def _names(rows: int, rng: np.random.Generator) -> pl.Series:
    """Names of two to four syllables, of some 20,000."""
    syllables = pl.Series(SYLLABLES)
    parts = [syllables.gather(rng.integers(0, len(SYLLABLES), rows)) for _ in range(4)]
    length = pl.Series(rng.choice((2, 3, 3, 4), rows))
    return (
        pl.DataFrame({"a": parts[0], "b": parts[1], "c": parts[2], "d": parts[3], "n": length})
        .select(
            pl.concat_str(
                "a", "b",
                pl.when(pl.col("n") > 2).then("c").otherwise(pl.lit("")),
                pl.when(pl.col("n") > 3).then("d").otherwise(pl.lit("")),
            ).str.to_titlecase()
        )
        .to_series()
    )  # fmt: skip


def _check_digits(body: pl.Series) -> pl.Series:
    """The last digit of ID numbers, by the Luhn algorithm."""
    digits = np.frombuffer("".join(body).encode(), np.uint8).reshape(len(body), 12) - ord("0")
    doubled = digits[:, 1::2] * 2
    total = digits[:, ::2].sum(axis=1) + (doubled // 10 + doubled % 10).sum(axis=1)
    return pl.Series((10 - total % 10) % 10).cast(pl.String)


def fill(connection: Connection[Row], members: int, seed: int) -> None:
    """Add so many members; commits."""
    rng = np.random.default_rng(seed)
    copy_in = f"COPY members ({COLUMNS}) FROM STDIN (FORMAT csv)"
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for first in range(0, members, BLOCK):
            rows = min(BLOCK, members - first)
            copy.write(block(first, rows, rng).write_csv(include_header=False))
    connection.commit()
    connection.autocommit = True
    connection.execute("VACUUM ANALYZE members")
    connection.autocommit = False


def index_rest(address: str) -> None:
    """Index whoever isn't indexed, at once on two cores, and not as a worker does.

    Ten million take minutes this way, and most of an hour with the indexes in place.
    """
    with connect(address) as connection:
        indexes = connection.execute(_INDEXES).fetchall()
        for one in indexes:
            connection.execute(f"DROP INDEX {one['name']}")
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_write_lines, address), (0, 1)))
    with connect(address) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        for one in indexes:
            connection.execute(one["definition"])
        connection.execute("UPDATE member_index_state SET filled_to = NULL")
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE member_index")


def _write_lines(address: str, half: int) -> None:
    """Write the lines of every other member."""
    with connect(address) as connection:
        connection.execute(_LINES, {"half": half})
