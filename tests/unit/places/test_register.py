"""The register has every place once, and finds it by the names that offices write."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from rollbook.places import (
    find_municipality,
    find_province,
    is_district,
    municipalities,
    municipality_of_ward,
    nearest_municipalities,
    nearest_provinces,
    provinces,
)

#: Local municipalities of each province in the boundaries of August 2016 (Municipal Demarcation
#: Board), without the eight metropolitan ones.
LOCAL = {"EC": 31, "FS": 18, "GP": 6, "KZN": 43, "LP": 22, "MP": 17, "NC": 26, "NW": 18, "WC": 24}


def test_there_are_as_many_places_as_the_demarcation_board_counts() -> None:
    all_of_them = municipalities().values()
    assert Counter(one.province for one in all_of_them if one.district) == LOCAL
    assert sum(one.district is None for one in all_of_them) == 8
    assert len({one.district for one in all_of_them if one.district}) == 44


def test_the_first_digits_of_wards_tell_every_municipality_apart() -> None:
    wards = [one.wards for one in municipalities().values()]
    assert len(set(wards)) == len(wards)
    assert all(re.fullmatch("[1-9][0-9]{4}", digits) for digits in wards)


@pytest.mark.parametrize(
    ("ward", "code"),
    [("74201001", "GT421"), ("79800012", "JHB"), ("52205003", "KZN225"), ("10101001", "WC011"),
     ("93301001", "LIM331"), ("59500110", "ETH"), ("99999999", None), ("8001", None)],
)  # fmt: skip
def test_a_ward_tells_its_municipality(ward: str, code: str | None) -> None:
    found = municipality_of_ward(ward)
    assert (found.code if found else None) == code


@pytest.mark.parametrize("code", provinces())
def test_a_province_is_found_by_code_and_name(code: str) -> None:
    for text in (code, code.lower(), provinces()[code].name, f"{provinces()[code].name} Province"):
        found = find_province(text)
        assert found is not None, text
        assert (found.place.code, found.how) == (code, "known"), text


@pytest.mark.parametrize("code", municipalities())
def test_a_municipality_is_found_by_code_and_by_name_within_its_province(code: str) -> None:
    one = municipalities()[code]
    for text in (
        code, one.name, one.name.upper(), f"{one.name} Local Municipality", f"{one.name} LM",
        f"{one.name} Plaaslike Munisipaliteit", f" {one.name}  Municipality ",
    ):  # fmt: skip
        found = find_municipality(text, province=one.province)
        assert found is not None, text
        assert (found.place.code, found.how) == (code, "known"), text


@pytest.mark.parametrize(
    ("text", "code", "how"),
    [
        ("Gauteng Province", "GP", "known"), ("N. Cape", "NC", "known"), ("E Cape", "EC", "known"),
        ("Northern Province", "LP", "former"), ("Limpompo", "LP", "near"),
        ("Kwa-Zulu/Natal", "KZN", "known"), ("Vrystaat", "FS", "known"), ("Natal", "KZN", "former"),
        ("Gautang", "GP", "near"), ("WESTERN  CAPE", "WC", "known"), ("Mpumalanga", "MP", "known"),
        ("iMpumalanga-Kapa", "EC", "known"), ("Oos-Kaap", "EC", "known"),
        ("Gauteng Provinsie", "GP", "known"),
    ],
)  # fmt: skip
def test_a_province_is_found_as_offices_write_it(text: str, code: str, how: str) -> None:
    found = find_province(text)
    assert found is not None
    assert (found.place.code, found.how) == (code, how)


@pytest.mark.parametrize(
    "text", ["", "  ", "Cape", "North", "Transvaal", "SA", "X", "Province", "Western"]
)
def test_a_province_that_could_be_several_is_none(text: str) -> None:
    assert find_province(text) is None


@pytest.mark.parametrize(
    ("text", "province", "code", "how"),
    [
        ("City of Johannesburg Metropolitan Municipality", None, "JHB", "known"),
        ("JHB", None, "JHB", "known"), ("COJ", None, "JHB", "known"),
        ("Johannesburg Metro", None, "JHB", "known"), ("Stad Johannesburg", None, "JHB", "known"),
        ("Ethekwini", None, "ETH", "known"), ("Durban", None, "ETH", "town"),
        ("Kaapstad", "WC", "CPT", "known"), ("Pretoria", "GP", "TSH", "town"),
        ("Emalahleni", "EC", "EC136", "known"), ("Emalahleni", "MP", "MP312", "known"),
        ("Randfontein", "GP", "GT485", "former"), ("Emfulini", "GP", "GT421", "near"),
        ("Naledi", None, "NW392", "known"), ("Khai-Ma", "NC", "NC067", "known"),
        ("Emfuleni", "KZN", "GT421", "known"), ("Beyers Naude", None, "EC101", "known"),
        ("uMasipala wase Msunduzi", "KZN", "KZN225", "known"),
        ("Ngcobo", "EC", "EC137", "former"),
    ],
)  # fmt: skip
def test_a_municipality_is_found_as_offices_write_it(
    text: str, province: str | None, code: str, how: str
) -> None:
    found = find_municipality(text, province=province)
    assert found is not None
    assert (found.place.code, found.how) == (code, how)


@pytest.mark.parametrize("text", ["", "Emalahleni", "Municipality", "Ward 4", "Branch", "Gauteng"])
def test_a_municipality_that_could_be_several_or_none_is_none(text: str) -> None:
    assert find_municipality(text) is None


def test_a_district_is_no_municipality() -> None:
    assert find_municipality("Sedibeng") is None
    for text in ("Sedibeng", "Sedibeng District Municipality", "sedibeng dm", "Eden", "DC42"):
        assert is_district(text), text
    assert not is_district("Emfuleni")


def test_what_is_not_found_is_asked_with_the_nearest_names() -> None:
    assert nearest_provinces("Guateng")[0] == "Gauteng"
    assert nearest_municipalities("Emfulenni City", province="GP")[0] == "Emfuleni"
    assert len(nearest_municipalities("Something else")) == 3
