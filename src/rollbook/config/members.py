"""The settings of searching and showing members."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from rollbook.config.values import Positive, known_roles, split


class MemberSettings(BaseSettings):
    """Who sees whole ID numbers, how far a search goes, and the organisation's own fields."""

    #: A TOML file of the organisation's own fields, and of its own rules on built-in ones.
    fields_file: Path | None = None
    #: Roles that may open a member's whole ID number, comma-separated; each time is audited.
    id_number_roles: Annotated[str, AfterValidator(known_roles)] = "super_admin,national_admin"
    #: Members that a search counts and pages through; more are reported as "more than".
    members_most_found: Positive = 10_000
    #: Members that a search reads to sort them, where no index has them in order; more likewise.
    members_most_sorted: Positive = 1_500
    #: Seconds that PostgreSQL gets for a search.
    members_timeout_s: Annotated[float, Field(gt=0)] = 10
    #: Seconds that a correction waits for a member whom a merge has locked.
    member_lock_wait_s: Annotated[float, Field(gt=0)] = 5
    #: Hours after which an export, or a person's file, is removed.
    export_hours: Annotated[int, Field(gt=0, le=24)] = 24
    #: Such files of one user that may wait to be made.
    exports_per_user: Positive = 5
    #: Whether a membership without a known payment ends 24 months after the joining date.
    expiry_from_joining: bool = False
    #: People whom the voter roll calls deceased: ``keep``, or ``refuse`` (they become no members,
    #: and those who are members become ``inactive``).
    deceased: Literal["keep", "refuse"] = "keep"
    #: Whether possible duplicates are looked for after each merge.
    duplicates: bool = True
    #: How alike two names must be for that, 0 to 100.
    duplicates_threshold: Annotated[float, Field(ge=50, le=100)] = 90
    #: Rows of a list of members to remove, and members that one filter may remove.
    removal_most: Positive = 100_000
    #: People of a file with one cell number or e-mail address from which a note names their rows;
    #: 0 for no such note.
    shared_phone_rows: Annotated[int, Field(ge=0)] = 10
    #: Seconds between two looks for members who are to be indexed.
    members_index_interval_s: Annotated[float, Field(gt=0)] = 2

    def may_open_id_numbers(self, role: str) -> bool:
        """Whether users of this role may open whole ID numbers."""
        return role in split(self.id_number_roles)
