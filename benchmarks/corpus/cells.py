"""People, and the ways in which offices write them into cells."""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from stdnum import luhn

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class Stance(IntEnum):
    """What an importer that is never silently wrong may do with a cell, from good to bad."""

    #: The text has one meaning: it is read as that, without a question.
    PLAIN = 0
    #: The meaning is likely: it is read as that or left out, and either is flagged.
    FLAGGED = 1
    #: No meaning can be known: nothing is stored for the field, and that is flagged.
    LEFT_OUT = 2
    #: The row can't be merged.
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula and its stored result; None if it was never calculated."""

    result: str | float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """What is written, what it means, and how sure that is."""

    value: str | float | dt.date | Formula | None
    #: As Rollbook stores it; None for nothing.
    truth: str | None
    stance: Stance = Stance.PLAIN


@dataclass(frozen=True, slots=True)
class Medium:
    """What a file's cells can hold."""

    #: Numbers, dates and formulas, not only text.
    has_types: bool
    is_1904: bool
    #: The codec of a text file.
    codec: str
    #: How the file writes its dates; see ``DATE_FORMS``.
    dates: str
    #: Whether formulas can be written with their results.
    has_results: bool = False


FIRST_NAMES: Final = (
    "Thandi", "Sipho", "Zoë", "André", "Lindiwe", "Pieter-Jan", "Nomvula", "François", "Anél",
    "Mpho", "Ann Marie", "Themba", "Renée", "Kagiso", "Ayanda", "Jörg", "Naledi", "Bongani",
)  # fmt: skip
SURNAMES: Final = (
    "Mokoena", "van der Merwe", "O'Brien", "Nkosi", "Cronjé", "Dlamini", "D'Arcy", "Müller",
    "Botha", "Ngcobo", "Janse van Rensburg", "Khumalo", "du Plessis", "Coetzee", "Tshabalala",
    "Hlongwane-Smith", "Motaung", "Lê",
)  # fmt: skip
#: A province: its code and the names that offices write.
PROVINCES: Final = {
    "GP": ("Gauteng", "GP", "Gauteng Province", "GAUTENG", "gauteng"),
    "WC": ("Western Cape", "WC", "Wes-Kaap", "Western Cape Province", "W Cape"),
    "FS": ("Free State", "FS", "Vrystaat", "Free State Province"),
    "KZN": ("KwaZulu-Natal", "KZN", "Kwazulu Natal", "KWAZULU-NATAL"),
}
#: A municipality: its province, its official name, the first digits of its wards' codes, and the
#: names that offices write.
PLACES: Final = (
    ("GP", "City of Johannesburg", "798",
     ("City of Johannesburg", "Johannesburg", "COJ", "JHB",
      "City of Johannesburg Metropolitan Municipality")),
    ("GP", "City of Tshwane", "799",
     ("City of Tshwane", "Tshwane", "City of Tshwane Metropolitan Municipality", "TSHWANE")),
    ("GP", "Emfuleni", None,
     ("Emfuleni", "Emfuleni LM", "Emfuleni Local Municipality", "emfuleni", "GT421")),
    ("WC", "Stellenbosch", None,
     ("Stellenbosch", "Stellenbosch Local Municipality", "Stellenbosch LM", "WC024")),
    ("FS", "Mangaung", "494", ("Mangaung", "Mangaung Metro", "Mangaung Metropolitan Municipality")),
    ("KZN", "eThekwini", "595", ("eThekwini", "Ethekwini", "eThekwini Metropolitan Municipality")),
)  # fmt: skip
STREETS: Final = (
    "12 Long St", "7 Church Rd, Unit 4", 'Flat "B", 3 Main Rd', "Stand 45; Extension 2",
    "P O Box 12\nVereeniging", "1234 Zone 6 | Sebokeng", "9 Loop Street", "Plot 3, Farm 12, R59",
    '5" Pipe Rd', "C:\\ Complex 4", "18 Voortrekker Str",
)  # fmt: skip
_MONTHS: Final = {
    "english": (
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ),
    "afrikaans": (
        "Januarie", "Februarie", "Maart", "April", "Mei", "Junie", "Julie", "Augustus", "September",
        "Oktober", "November", "Desember",
    ),
}  # fmt: skip
#: One for all dates of a file, as a person or a program writes them.
DATE_FORMS: Final = (
    "iso", "day first", "day first dots", "year first", "english", "afrikaans", "moment", "digits",
    "mixed", "cell", "serial",
)  # fmt: skip
_WIDTHLESS: Final = "\N{ZERO WIDTH SPACE}"
_NBSP: Final = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up member."""

    id_number: str
    firstname: str
    surname: str
    cell_number: str
    email: str
    place: tuple[str, str, str | None, tuple[str, ...]]
    ward: int
    joined: dt.date
    paid: dt.date
    cents: int
    address: str


def person(chance: Random, sequence: int) -> Person:
    """Someone with a number that nobody else of the file has."""
    born = dt.date(1945, 1, 1) + dt.timedelta(days=chance.randrange(59 * 365))
    body = f"{born:%y%m%d}{sequence % 10_000:04}08"
    first, last = chance.choice(FIRST_NAMES), chance.choice(SURNAMES)
    joined = dt.date(2019, 1, 1) + dt.timedelta(days=chance.randrange(1500))
    mailbox = "".join(c for c in f"{first}.{last}".lower() if c.isascii() and c not in " '-")
    return Person(
        id_number=body + str(luhn.calc_check_digit(body)),
        firstname=first,
        surname=last,
        cell_number=f"+27{chance.choice((71, 72, 82, 83))}{chance.randrange(10**6, 10**7)}",
        email=f"{mailbox}{sequence}@example.org",
        place=chance.choice(PLACES),
        ward=chance.randrange(1, 30),
        joined=joined,
        paid=joined + dt.timedelta(days=chance.randrange(30, 900)),
        cents=chance.choice((1000, 1050, 2000, 12000, 120050, 2000)),
        address=chance.choice(STREETS),
    )


def cell(field: str, who: Person, chance: Random, medium: Medium) -> Cell:
    """How a person's field is written in one row."""
    return _WRITERS[field](who, chance, medium)


# --- one field each -------------------------------------------------------------------------------


def _id_number(who: Person, chance: Random, medium: Medium) -> Cell:
    number = who.id_number
    draw = chance.random()
    if draw < 0.6:
        return Cell(number, number)
    if draw < 0.70:
        if not medium.has_types:
            return Cell(f'="{number}"', number)
        short = len(str(int(number))) < 13
        return Cell(float(int(number)), number, Stance.FLAGGED if short else Stance.PLAIN)
    if draw < 0.95:
        written = chance.choice((
            f"{number[:6]} {number[6:10]} {number[10:]}", f"'{number}", f"{number} ",
            f"{number[:6]}-{number[6:10]}-{number[10:]}", f"{_NBSP}{number}",
            f"{number[:6]} {number[6:]}",
        ))  # fmt: skip
        return Cell(_encodable(written, medium), number)
    wrong = str((int(number[-1]) + chance.randrange(1, 10)) % 10)
    return chance.choice((
        Cell(number[:-1] + wrong, None, Stance.REFUSED), Cell(number[:-2], None, Stance.REFUSED),
        Cell(f"{float(number):.5E}", None, Stance.REFUSED), Cell(None, None, Stance.REFUSED),
        Cell(number[:4] + "O" + number[5:], None, Stance.REFUSED),
        Cell("unknown", None, Stance.REFUSED),
    ))  # fmt: skip


def _name(text: str, chance: Random, medium: Medium) -> Cell:
    draw = chance.random()
    if draw < 0.85:
        return Cell(text, text)
    if draw < 0.99:
        written = chance.choice((
            f"  {text} ", text.replace(" ", "  "), f"{_WIDTHLESS}{text}", text + _NBSP,
            unicodedata.normalize("NFD", text),
            text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"),
            f'"{text}"' if medium.has_types else text,
        ))  # fmt: skip
        return Cell(_encodable(written, medium, text), text)
    return Cell(chance.choice(("N/A", "-", None, "NULL", "0", "???")), None, Stance.REFUSED)


def _firstname(who: Person, chance: Random, medium: Medium) -> Cell:
    return _name(who.firstname, chance, medium)


def _surname(who: Person, chance: Random, medium: Medium) -> Cell:
    return _name(who.surname, chance, medium)


def _cell_number(who: Person, chance: Random, medium: Medium) -> Cell:
    number = who.cell_number
    nine = number[3:]
    plain, draw = f"0{nine}", chance.random()
    if draw < 0.5:
        return Cell(plain, number)
    if draw < 0.6 and medium.has_types:
        return Cell(float(nine), number)
    if draw < 0.85:
        return Cell(chance.choice((
            f"0{nine[:2]} {nine[2:5]} {nine[5:]}", number, number[1:],
            f"(0{nine[:2]}) {nine[2:5]}-{nine[5:]}",
            f"0{nine[:2]}-{nine[2:5]}-{nine[5:]}", f"+27 {nine[:2]} {nine[2:5]} {nine[5:]}",
            f"+27 (0){nine[:2]} {nine[2:5]} {nine[5:]}", f"0027{nine}", f"'{plain}",
        )), number)  # fmt: skip
    if draw < 0.93:
        return Cell(chance.choice((
            f"{plain} / 0731112222", f"{plain} (work)", f"tel: {plain}", f"{plain} or 0731112222",
        )), number, Stance.FLAGGED)  # fmt: skip
    if draw < 0.96:
        return Cell(chance.choice((None, "", "N/A", "-")), None)
    written = chance.choice((plain[:-2], f"{plain}99", f"{float(plain):.2E}", "08212E4567"))
    return Cell(written, None, Stance.LEFT_OUT)


def _email(who: Person, chance: Random, _: Medium) -> Cell:
    draw = chance.random()
    if draw < 0.8:
        return Cell(chance.choice((who.email, who.email.upper(), f" {who.email} ")), who.email)
    if draw < 0.9:
        return Cell(None, None)
    return chance.choice((
        Cell(f"mailto:{who.email}", who.email, Stance.FLAGGED),
        Cell(f"{who.email}; other@example.org", who.email, Stance.FLAGGED),
        Cell(who.email.replace("@", " at "), None, Stance.LEFT_OUT),
        Cell("someone@", None, Stance.LEFT_OUT),
    ))  # fmt: skip


def _province(who: Person, chance: Random, _: Medium) -> Cell:
    return Cell(chance.choice(PROVINCES[who.place[0]]), who.place[0])


def _municipality(who: Person, chance: Random, _: Medium) -> Cell:
    return Cell(chance.choice(who.place[3]), who.place[1])


def _ward(who: Person, chance: Random, medium: Medium) -> Cell:
    number = str(who.ward)
    draw = chance.random()
    if draw < 0.15 and who.place[2]:
        code = f"{who.place[2]}00{who.ward:03}"
        return Cell(float(code) if medium.has_types and draw < 0.05 else code, code)
    if draw < 0.9:
        return Cell(float(number) if medium.has_types and draw < 0.4 else number, number)
    return Cell(f"Ward {number}", number)


def _joined(who: Person, chance: Random, medium: Medium) -> Cell:
    return _date(who.joined, chance, medium)


def _paid(who: Person, chance: Random, medium: Medium) -> Cell:
    if chance.random() < 0.05:
        return Cell(None, None)
    if chance.random() < 0.03:
        return Cell(
            chance.choice(("30/02/2022", "2022", "soon", "00/00/0000")), None, Stance.LEFT_OUT
        )
    return _date(who.paid, chance, medium)


def _date(day: dt.date, chance: Random, medium: Medium) -> Cell:
    form = medium.dates
    if form == "mixed":
        form = chance.choice(("iso", "english", "afrikaans", "moment", "year first"))
    if form == "serial":
        start = dt.date(1904, 1, 1) if medium.is_1904 else dt.date(1899, 12, 30)
        return Cell(float((day - start).days), day.isoformat())
    if form == "cell":
        return Cell(day, day.isoformat())
    if form in _MONTHS:
        written = f"{day.day} {_MONTHS[form][day.month - 1]} {day.year}"
    else:
        pattern = {
            "iso": "%Y-%m-%d", "day first": "%d/%m/%Y", "day first dots": "%d.%m.%Y",
            "year first": "%Y/%m/%d", "moment": "%Y-%m-%dT00:00:00", "digits": "%Y%m%d",
        }[form]  # fmt: skip
        written = day.strftime(pattern)
    return Cell(written, day.isoformat())


def _amount(who: Person, chance: Random, medium: Medium) -> Cell:
    rand, cents = divmod(who.cents, 100)
    truth = f"{rand}.{cents:02}"
    spaced = f"{rand:,}".replace(",", " ")
    draw = chance.random()
    if medium.has_types and draw < 0.5:
        return Cell(who.cents / 100, truth)
    if draw < 0.9:
        return Cell(chance.choice((
            f"R{rand}.{cents:02}", truth, f"R {spaced},{cents:02}", f"{rand},{cents:02}",
            f"R{rand}-{cents:02}", f"R {spaced}.{cents:02}",
        )), truth)  # fmt: skip
    return chance.choice((
        Cell("-50.00", None, Stance.LEFT_OUT), Cell("free", None, Stance.LEFT_OUT),
        Cell(f"{truth} p.a.", truth, Stance.FLAGGED), Cell(None, None),
    ))  # fmt: skip


def _address(who: Person, _: Random, __: Medium) -> Cell:
    return Cell(who.address, " ".join(who.address.split()))


def _encodable(written: str, medium: Medium, otherwise: str | None = None) -> str:
    """The text, or a plainer one where the file's encoding hasn't all its characters."""
    try:
        written.encode(medium.codec)
    except UnicodeEncodeError:
        return otherwise if otherwise is not None else written.replace(_NBSP, " ")
    return written


_WRITERS: Final[dict[str, Callable[[Person, Random, Medium], Cell]]] = {
    "id_number": _id_number, "firstname": _firstname, "surname": _surname,
    "cell_number": _cell_number, "email": _email, "province": _province,
    "municipality": _municipality, "ward": _ward, "date_joined": _joined,
    "last_payment": _paid, "membership_amount": _amount, "residential_address": _address,
}  # fmt: skip
