"""What a merge waits for: which attempt it is about, and who may see the other upload."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from rollbook.model import EVERYWHERE, Scope
from rollbook.uploads import waits

SINCE = dt.datetime(2026, 11, 2, 8, 30, tzinfo=dt.UTC)
OTHER = UUID(int=7)


def waiting(wait: waits.Wait, **more: Any) -> dict[str, Any]:
    """A row of ``uploads`` whose third attempt waits."""
    return {"status": "processing", "attempt": 3, "waits": wait.as_json(3)} | more


@pytest.mark.parametrize(
    ("reader", "place", "sees_it"),
    [
        (EVERYWHERE, EVERYWHERE, True),
        (EVERYWHERE, Scope("GP", "Tshwane"), True),
        (Scope("GP"), Scope("GP", "Tshwane"), True),
        (Scope("GP"), EVERYWHERE, False),
        (Scope("GP"), Scope("KZN"), False),
        (Scope("GP", "Tshwane"), Scope("GP"), False),
    ],
)
def test_the_other_upload_is_named_to_those_who_may_see_it(
    reader: Scope, place: Scope, sees_it: bool
) -> None:
    found = waits.facts(waiting(waits.Wait(SINCE, OTHER, place)), reader)
    assert found == {"waits_since": SINCE, "waits_for": OTHER if sees_it else None}
    sentence = waits.in_words(waits.Waits(**found))
    assert ("another upload of the same members (00000000)" in sentence) is sees_it


@pytest.mark.parametrize("upload", [{"attempt": 4}, {"status": "pending"}, {"waits": None}])
def test_a_wait_of_an_earlier_attempt_or_of_one_that_ended_is_none(upload: dict[str, Any]) -> None:
    assert waits.facts(waiting(waits.Wait(SINCE), **upload), EVERYWHERE) == {}


def test_a_change_that_is_no_upload_is_said_as_one() -> None:
    found = waits.facts(waiting(waits.Wait(SINCE)), EVERYWHERE)
    assert found == {"waits_since": SINCE, "waits_for": None}
    assert waits.in_words(waits.Waits(**found)) == "waits for another change of the same members"
