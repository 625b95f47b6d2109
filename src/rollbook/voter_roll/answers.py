"""What the voter roll's answers mean.

The shape is that of the electoral commission's web service: ``Id``, ``VoterStatus``,
``VoterStatusID``, ``bRegistered``, ``VoterId`` and ``VotingStation``. An answer is accepted only
if it is unambiguous. An answer that is incomplete, contradicts itself or is about another person is
invalid, and the person's verification stays pending.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from rollbook.errors import NoAnswerError

Status = Literal["registered", "without_district", "not_registered", "deceased", "international"]

#: The voting-district codes of those who have no district.
SPECIAL_DISTRICTS: dict[Status, str] = {
    "without_district": "22222222",
    "not_registered": "99999999",
    "deceased": "11111111",
    "international": "33333333",
}
_STATUS_OF_DISTRICT = {code: status for status, code in SPECIAL_DISTRICTS.items()}
_DISTRICT = re.compile(r"[1-9][0-9]{7}")
_WARD = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the roll says of a person; of the station only what a report needs."""

    status: Status
    ward: str | None
    #: 8 digits: of a district, or one of ``SPECIAL_DISTRICTS``.
    voting_district: str
    voting_station: str | None = None
    municipality: str | None = None
    province: str | None = None


def understood(document: object, id_number: str) -> Answer:
    """Read the JSON of the roll's answer about a person.

    Raises:
        NoAnswerError: it isn't an answer, or one about another person.
    """
    if not isinstance(document, dict) or not isinstance(document.get("bRegistered"), bool):
        raise _garbage("has no bRegistered")
    if str(document.get("Id") or "").strip() != id_number:
        raise _garbage("is not about the person in question")
    words = str(document.get("VoterStatus") or "").lower()
    station = _object(document.get("VotingStation"))
    place = _object(station.get("Delimitation"))
    ward, district = _number(place.get("WardID"), _WARD), _district(place.get("VDNumber"))
    status = _status(words, district, is_registered=document["bRegistered"])
    if document["bRegistered"] and status != "deceased" and "VotingStation" not in document:
        # A real answer says "none" with a null; a missing key means that the answer was cut short.
        raise _garbage("says nothing of a voting station")
    if status == "registered":
        # Without a ward the answer can't be compared with the file's.
        if ward is None or district is None:
            raise _garbage("names no ward")
        return Answer(
            status,
            ward,
            district,
            voting_station=_text(station.get("Name")),
            municipality=_text(place.get("Municipality")),
            province=_text(place.get("Province")),
        )
    return Answer(status, ward, SPECIAL_DISTRICTS[status])


def _status(words: str, district: str | None, *, is_registered: bool) -> Status:
    """The status on which the text, the district and the flag agree."""
    if "deceased" in words:
        return "deceased"
    says_not = "not registered" in words or "unregistered" in words
    if is_registered and says_not:
        raise _garbage("contradicts itself")
    if not is_registered:
        # A district without a registration would be as much of a contradiction.
        if district is not None and district not in _STATUS_OF_DISTRICT:
            raise _garbage("contradicts itself")
        if district is not None:
            return _STATUS_OF_DISTRICT[district]
        if says_not:
            return "not_registered"
        # The flag without the rest may be a truncated answer, which isn't enough for a result.
        raise _garbage("doesn't say in words who is not registered")
    if "international" in words or "abroad" in words:
        return "international"
    if district is None:
        return "without_district"
    if district == SPECIAL_DISTRICTS["not_registered"]:
        raise _garbage("contradicts itself")
    return _STATUS_OF_DISTRICT.get(district, "registered")


def _district(value: object) -> str | None:
    """A voting district; None where the answer has none. An unreadable one is an error."""
    district = _number(value, _DISTRICT)
    if district is None and value is not None and not _is_nought(value):
        raise _garbage("has a voting district that can't be read")
    return district


def _is_nought(value: object) -> bool:
    is_code = isinstance(value, int | str) and not isinstance(value, bool)
    return is_code and not str(value).strip().strip("0")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object, form: re.Pattern[str]) -> str | None:
    """A code as text; the roll writes some as numbers. None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    return text if form.fullmatch(text) else None


def _text(value: object) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def _garbage(why: str) -> NoAnswerError:
    return NoAnswerError(f"The voter roll's answer {why}.")
