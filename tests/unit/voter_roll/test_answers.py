"""What the roll's answers mean; what is no answer leaves the person pending."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from rollbook import clock
from rollbook.errors import NoAnswerError
from rollbook.voter_roll.answers import SPECIAL_DISTRICTS, understood
from rollbook.voter_roll.client import DEFAULT_RETRY_AFTER_S, MAX_RETRY_AFTER_S, retry_after_s

ID = "8001015009087"


def document(**changes: Any) -> dict[str, Any]:
    """The answer about a registered voter."""
    place = {
        "ProvinceID": 3,
        "Province": "Gauteng",
        "MunicipalityID": 34,
        "Municipality": "JHB",
        "WardID": 79800001,
        "VDNumber": 32840123,
    }
    return {
        "Id": ID,
        "VoterStatus": "Registered",
        "VoterStatusID": 1,
        "bRegistered": True,
        "VoterId": 7,
        "VotingStation": {"Name": "A school", "Delimitation": place, "Location": {"Town": "X"}},
        **changes,
    }


def at(district: object, ward: object = 79800001) -> dict[str, Any]:
    return {"Name": "A school", "Delimitation": {"WardID": ward, "VDNumber": district}}


def test_a_registered_voter_has_a_ward_and_a_district_as_text() -> None:
    answer = understood(document(), ID)
    assert (answer.status, answer.ward, answer.voting_district) == (
        "registered", "79800001", "32840123",
    )  # fmt: skip
    assert (answer.voting_station, answer.municipality, answer.province) == (
        "A school", "JHB", "Gauteng",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"VotingStation": None}, "without_district"),
        ({"VotingStation": at(None)}, "without_district"),
        ({"VotingStation": at(0)}, "without_district"),
        ({"VotingStation": at("22222222")}, "without_district"),
        ({"VotingStation": at("33333333")}, "international"),
        ({"VoterStatus": "Registered International", "VotingStation": None}, "international"),
        ({"VotingStation": at("0")}, "without_district"),
        ({"VoterStatus": "Not registered", "bRegistered": False, "VotingStation": None},
         "not_registered"),
        ({"VoterStatus": "Unregistered", "bRegistered": False, "VotingStation": {}},
         "not_registered"),
        ({"bRegistered": False, "VoterStatus": "", "VotingStation": at("99999999")},
         "not_registered"),
        ({"VoterStatus": "DECEASED", "bRegistered": False, "VotingStation": None}, "deceased"),
        ({"bRegistered": False, "VoterStatus": "", "VotingStation": at("11111111")}, "deceased"),
    ],
)  # fmt: skip
def test_those_without_a_district_have_the_special_code_of_why(
    changes: dict[str, Any], status: str
) -> None:
    answer = understood(document(**changes), ID)
    assert answer.status == status
    assert answer.voting_district == SPECIAL_DISTRICTS[answer.status]


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        "registered",
        {},
        document(bRegistered=None),
        document(bRegistered="true"),
        document(bRegistered=1),
        document(Id="8001015009088"),
        document(Id=None),
        document(VoterStatus="Not registered"),
        document(bRegistered=False),
        document(VotingStation=at(32840123, ward=None)),
        document(VotingStation=at("99999999")),
        # Too little to say of anybody that they aren't registered.
        document(VoterStatus=None, bRegistered=False, VotingStation=None),
        document(VoterStatus="Registered", bRegistered=False, VotingStation=None),
        document(VoterStatus="Pending", bRegistered=False, VotingStation=at(0)),
        # Cut short.
        {name: value for name, value in document().items() if name != "VotingStation"},
    ],
)
def test_an_answer_that_is_none_is_never_taken_for_not_registered(garbage: object) -> None:
    with pytest.raises(NoAnswerError) as failure:
        understood(garbage, ID)
    assert ID not in str(failure.value)


@pytest.mark.parametrize(
    "district", [3284012, 328401234, "ABCDEFGH", True, False, 3.5, [32840123], {}]
)
@pytest.mark.parametrize("says", [{}, {"VoterStatus": "Not registered", "bRegistered": False}])
def test_a_district_that_cannot_be_read_is_not_one_that_is_missing(
    district: object, says: dict[str, Any]
) -> None:
    with pytest.raises(NoAnswerError):
        understood(document(VotingStation=at(district), **says), ID)


def test_retry_after_is_read_as_seconds_and_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert retry_after_s("120") == 120
    assert retry_after_s("Tue, 24 Nov 2026 12:05:00 GMT") == 300
    assert retry_after_s("Tue, 24 Nov 2026 12:05:00 -0000") == 300


@pytest.mark.parametrize("value", [None, "", "soon", "nan", "inf"])
def test_a_retry_after_that_says_nothing_means_a_minute(value: str | None) -> None:
    assert retry_after_s(value) == DEFAULT_RETRY_AFTER_S


def test_no_retry_after_stops_us_for_a_week() -> None:
    assert retry_after_s("604800") == MAX_RETRY_AFTER_S
    assert retry_after_s("-5") == 1
