"""What both Python peers do with a row, in the usual way: one cell after another.

It runs in the peers' own environment. It does less than Rollbook (no warnings, no refugees' rules,
no spelling of languages), so a peer's time is rather too short.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from stdnum.za import idnr

HEADERS = {
    "idnumber": "id_number", "firstname": "firstname", "surname": "surname",
    "cellnumber": "cell_number", "landlinenumber": "landline_number", "email": "email",
    "residentialaddress": "residential_address", "gender": "gender", "race": "race",
    "citizenship": "citizenship", "language": "language", "occupation": "occupation",
    "qualification": "qualification", "province": "province", "region": "region",
    "municipality": "municipality", "ward": "ward", "votingstation": "voting_station",
    "votingdistrict": "voting_district", "datejoined": "date_joined",
    "lastpayment": "last_payment", "expirydate": "expiry_date", "subscription": "subscription",
    "memebershipamount": "membership_amount", "status": "status",
}  # fmt: skip
PROVINCES = {
    "EASTERN CAPE": "EC", "FREE STATE": "FS", "GAUTENG": "GP", "KWAZULU-NATAL": "KZN",
    "KWAZULU NATAL": "KZN", "LIMPOPO": "LP", "MPUMALANGA": "MP", "NORTH WEST": "NW",
    "NORTHERN CAPE": "NC", "WESTERN CAPE": "WC",
}  # fmt: skip
_EXCEL_EPOCH = dt.date(1899, 12, 30)


class InvalidRowError(Exception):
    """The row is refused; the message says why."""


def field_of(header: Any) -> str | None:
    """The column of the table for a header of the file."""
    return HEADERS.get(re.sub(r"[^a-z0-9]", "", str(header).lower()))


def clean(raw: dict[str, Any]) -> dict[str, Any]:
    """The values of a member from the cells of a row, by field.

    Raises:
        InvalidRowError: the ID number or the surname is missing or wrong.
    """
    values: dict[str, Any] = {name: _text(raw.get(name)) for name in HEADERS.values()}
    number = _id_number(values["id_number"])
    if values["surname"] is None or values["firstname"] is None:
        raise InvalidRowError("name missing")
    values["id_number"] = number
    values["date_of_birth"] = idnr.get_birth_date(number)
    values["gender"] = "female" if number[6] < "5" else "male"
    values["citizenship"] = "citizen" if number[10] == "0" else "permanent resident"
    for name in ("date_joined", "last_payment", "expiry_date"):
        values[name] = _date(raw.get(name))
    for name in ("cell_number", "landline_number"):
        values[name] = _phone(values[name])
    if values["province"]:
        values["province"] = PROVINCES.get(values["province"].upper(), values["province"])
    if values["email"]:
        values["email"] = values["email"].lower()
    values["membership_amount"] = _amount(values["membership_amount"])
    return values


def _text(cell: Any) -> str | None:
    if cell is None or cell != cell:  # noqa: PLR0124 - not a number is how pandas says "empty"
        return None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip() or None


def _id_number(text: str | None) -> str:
    if text is None:
        raise InvalidRowError("ID number missing")
    number = text.replace(" ", "").replace("-", "")
    if 10 <= len(number) < 13 and idnr.is_valid(number.zfill(13)):
        number = number.zfill(13)
    if not idnr.is_valid(number):
        raise InvalidRowError("ID number invalid")
    return number


def _date(cell: Any) -> dt.date | None:
    if isinstance(cell, dt.datetime):
        return cell.date() if cell == cell else None  # noqa: PLR0124 - pandas' NaT
    text = _text(cell)
    if text is None:
        return None
    if text.isdigit():
        return _EXCEL_EPOCH + dt.timedelta(days=int(text))
    for form in ("%Y-%m-%d", "%d/%m/%Y"):
        try:
            return dt.datetime.strptime(text, form).date()  # noqa: DTZ007 - a date without a time
        except ValueError:
            continue
    return None


def _phone(text: str | None) -> str | None:
    digits = re.sub(r"\D", "", text or "")
    if digits.startswith("27") and len(digits) == 11:
        digits = digits[2:]
    digits = digits.lstrip("0")
    return f"+27{digits}" if len(digits) == 9 else None


def _amount(text: str | None) -> Decimal | None:
    try:
        return Decimal(re.sub(r"[R ]", "", text).replace(",", ".")) if text else None
    except InvalidOperation:
        return None
