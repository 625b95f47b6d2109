"""The register of South Africa's provinces, districts and municipalities, and the names in use.

A place has one code and one official name; everything else compares those. ``register.toml`` is
the data. A place is found by what somebody wrote: its code, its name, or a name that is near.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

#: How a place was found: by its code or a name in use, by a former name, by a town in it, or by a
#: name that differs in one letter. All but the first are doubtful: the sender is warned of them.
How = Literal["known", "former", "town", "near"]
#: Names this short differ in one letter from too many others.
_LEAST_NEAR_CHARS: Final = 6
#: A code with its parts: the province's letters, the district's digits, the municipality's.
_CODE: Final = re.compile(r"^([A-Z]+)([0-9]{2})([0-9])$")
_PROVINCE_LETTERS: Final = {"GT": "GP", "LIM": "LP"}
#: Words that say which kind of place it is, in English, Afrikaans, isiZulu and isiXhosa.
_KINDS: Final = re.compile(
    r"\b(?:metropolitan|metropolitaanse|metro|local|plaaslike|municipality|municipal|munisipaliteit"
    r"|munic|municip|mun|umasipala|masipala|wase|provincial|provinsiale|province|provinsie"
    r"|prov|isifundazwe|iphondo|lm|mm|l\.m|m\.m)\b\.?"
)


@dataclass(frozen=True, slots=True)
class Province:
    """One of the nine provinces."""

    #: Such as ``GP``.
    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Municipality:
    """A local or metropolitan municipality."""

    #: Such as ``GT421``, or ``JHB``.
    code: str
    name: str
    #: The province's code.
    province: str
    #: The district's code; a metropolitan municipality lies in none.
    district: str | None
    #: The first five digits of its wards' ids.
    wards: str


Place = TypeVar("Place", Province, Municipality)


@dataclass(frozen=True, slots=True)
class Found(Generic[Place]):
    """A place, and how it was found."""

    place: Place
    how: How


@cache
def _data() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    text = files("rollbook.places").joinpath("register.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def provinces() -> Mapping[str, Province]:
    """The provinces by code."""
    return {code: Province(code, entry["name"]) for code, entry in _data()["provinces"].items()}


@cache
def municipalities() -> Mapping[str, Municipality]:
    """The municipalities by code, the metropolitan ones first."""
    data = _data()
    found = {
        code: Municipality(code, entry["name"], entry["province"], None, entry["wards"])
        for code, entry in data["metros"].items()
    }
    for code, entry in data["municipalities"].items():
        parts = _CODE.match(code)
        assert parts is not None, code
        letters, district, number = parts.groups()
        province = _PROVINCE_LETTERS.get(letters, letters)
        digit = data["provinces"][province]["digit"]
        found[code] = Municipality(
            code, entry["name"], province, f"DC{int(district)}", f"{digit}{district}0{number}"
        )
    return found


def find_province(text: str) -> Found[Province] | None:
    """The province that a text means; None where it means none, or could mean several."""
    return _one(_found(text, _names("provinces"), provinces()))


def find_municipality(text: str, *, province: str | None = None) -> Found[Municipality] | None:
    """The municipality that a code or name means; None where it means none, or could mean several.

    A name may have words such as "Local Municipality". The province's code chooses between two of
    the same name. The only one of a name is also found in another province.
    """
    found = _found(text, _names("metros", "municipalities"), municipalities())
    within = [one for one in found if one.place.province == province]
    return _one(within or found)


def is_district(text: str) -> bool:
    """Does a text name a district?"""
    return _key(re.sub(r"\b(?:district|distrik|dm)\b", " ", text.lower())) in _names("districts")


def municipality_of_ward(ward: str) -> Municipality | None:
    """The municipality of a ward's id of eight digits; None where there is none of that number."""
    return _by_ward().get(ward[:5]) if re.fullmatch(r"[0-9]{8}", ward) else None


@cache
def ward_codes() -> Collection[str]:
    """The first five digits that the wards of a municipality have in common."""
    return tuple(_by_ward())


def nearest_provinces(text: str, *, most: int = 3) -> Sequence[str]:
    """The names of the provinces that are most like a text, for a sentence that asks."""
    return [provinces()[code].name for code in _nearest(text, _names("provinces"), most)]


def nearest_municipalities(text: str, *, province: str | None = None, most: int = 3) -> list[str]:
    """The names of the municipalities, of a province or all, that are most like a text."""
    names = {
        key: [
            (code, how)
            for code, how in places
            if province in {None, municipalities()[code].province}
        ]
        for key, places in _names("metros", "municipalities").items()
    }
    return [municipalities()[code].name for code in _nearest(text, names, most)]


_Names = dict[str, list[tuple[str, How]]]


def _found(text: str, names: _Names, places: Mapping[str, Place]) -> list[Found[Place]]:
    """Every place that a text may mean; the surest way of finding counts."""
    key = _key(text)
    if not key:
        return []
    exact = names.get(key, [])
    for how in ("known", "former", "town"):
        if found := [Found(places[code], how) for code, its in exact if its == how]:
            return found
    if len(key) < _LEAST_NEAR_CHARS:
        return []
    # Only a misspelt place needs it: the API and the worker start without it.
    from rapidfuzz import process  # noqa: PLC0415
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    near = process.extract(
        key, names.keys(), scorer=OSA.distance, score_cutoff=1, limit=None, processor=None
    )
    codes = {
        code for name, _, _ in near if len(name) >= _LEAST_NEAR_CHARS for code, _ in names[name]
    }
    return [Found(places[code], "near") for code in sorted(codes)]


def _one(found: list[Found[Place]]) -> Found[Place] | None:
    return found[0] if len(found) == 1 else None


def _nearest(text: str, names: Mapping[str, Sequence[tuple[str, How]]], most: int) -> list[str]:
    from rapidfuzz import process  # noqa: PLC0415 - as above
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    wanted = [name for name, places in names.items() if places]
    near = process.extract(_key(text), wanted, scorer=OSA.normalized_similarity, limit=4 * most)
    codes = [code for name, _, _ in near for code, _ in names[name]]
    return list(dict.fromkeys(codes))[:most]


@cache
def _by_ward() -> Mapping[str, Municipality]:
    return {one.wards: one for one in municipalities().values()}


@cache
def _names(*parts: str) -> _Names:
    """The places of some parts of the register by the keys of their codes and names."""
    found: _Names = defaultdict(list)
    for code, entry in chain.from_iterable(_data()[part].items() for part in parts):
        written: dict[How, Sequence[str]] = {
            "known": (code, entry["name"], *entry.get("names", ())),
            "former": entry.get("former", ()),
            "town": entry.get("towns", ()),
        }
        for how, names in written.items():
            for key in dict.fromkeys(_key(name) for name in names):
                if all(other != code for other, _ in found[key]):
                    found[key].append((code, how))
    return dict(found)


def _key(text: str) -> str:
    """A name without case, accents, punctuation, and words that say which kind of place it is."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    without = _KINDS.sub(" ", plain)
    return re.sub("[^a-z0-9]", "", without) or re.sub("[^a-z0-9]", "", plain)
