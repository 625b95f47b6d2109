"""Phones, amounts, e-mails, wards and names as offices type them: right, flagged, or left out."""

from __future__ import annotations

import random
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import phonenumbers
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.pipeline import cells, id_numbers
from rollbook.pipeline.amounts import amounts
from rollbook.pipeline.emails import emails
from rollbook.pipeline.names import has_lines, names, split
from rollbook.pipeline.phones import phones
from rollbook.pipeline.problems import catalogue
from tests.examples import few
from tests.unit.pipeline.test_dates import TODAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rollbook.pipeline.cells import Understood

    #: The value of a cell, and the code of its doubt.
    Read = tuple[object, str | None]

OURS = "+27821234567"


def each(kind: Callable[[pl.Series], Understood], texts: Iterable[str]) -> dict[str, Read]:
    """What each of these texts is read as, in one column: no text minds the others, see below."""
    texts = list(texts)
    found = kind(cells.without_nothing(cells.clean(cells.shown(pl.Series("cell", texts)))))
    return dict(zip(texts, zip(found.values, found.doubts, strict=True), strict=True))


def one(kind: Callable[[pl.Series], Understood], text: str) -> Read:
    """What a column of this one text is read as."""
    return each(kind, [text])[text]


def first(texts: pl.Series) -> Understood:
    return names(texts, is_first=True)


def last(texts: pl.Series) -> Understood:
    return names(texts, is_first=False)


def test_one_phone_number_needs_no_doubt() -> None:
    texts = [
        "0821234567", "082 123 4567", "082-123-4567", "(082) 123-4567", "082.123.4567",
        "082/123 4567", "082/1234567", "821234567", "821234567.0", "27821234567",
        "27821234567.0", "+27821234567",
        "+27 82 123 4567", "+27-82-123-4567", "+27 (0)82 123 4567", "+27(0)821234567",
        "(+27) 82 123 4567",
        "+2782 123 4567", "++27821234567", "0027821234567", "00 27 82 123 4567", "00821234567",
        "'0821234567", "'+27821234567", '="0821234567"', "tel:+27821234567", "Tel: 082 123 4567",
        "Cell: 0821234567", "cell 082 123 4567", "C: 082 123 4567", "Cell no: 0821234567",
        "082\u2013123\u20134567", "082\u00a0123\u00a04567", "\u202a+27821234567\u202c",
        "\ufeff0821234567",
        "\uff10\uff18\uff12\uff11\uff12\uff13\uff14\uff15\uff16\uff17", "8.21234567E8",
        "2.7821234567E10",
        "0821234567.", "0821234567,", "+27821234567;", "\t0821234567\n", "0 8 2 1 2 3 4 5 6 7",
        "'0821234567'",
    ]  # fmt: skip
    assert each(phones, texts) == dict.fromkeys(texts, (OURS, None))


def test_the_first_of_several_phone_numbers_is_kept_and_flagged() -> None:
    texts = [
        "0821234567 / 0837654321", "0821234567/0837654321", "0821234567;0837654321",
        "0821234567, 0837654321", "0821234567 or 0837654321", "0821234567 of 0837654321",
        "0821234567 & 0837654321", "0821234567 | 0837654321", "082 123 4567 - 083 765 4321",
        "0821234567 0837654321", "082 123 4567 083 765 4321", "0821234567\n0837654321",
        "082 123 4567/8",
        "0821234567 (w) 0837654321 (h)", "C: 0821234567, H: 0837654321",
        "+27821234567 / +44 20 7946 0958",
    ]  # fmt: skip
    assert each(phones, texts) == dict.fromkeys(texts, (OURS, "phone_several"))


def test_a_remark_beside_a_phone_number_goes_and_is_told() -> None:
    texts = [
        "082 123 4567 (wife)", "0821234567 wife", "Thandi 0821234567", "wife: 0821234567",
        "0821234567 WhatsApp only", "082 123 4567 x12", "0821234567 ext 12", "0821234567 Ext. 123",
        "0821234567 (H)", "0821234567 [work]", "0821234567?", "*0821234567", "0821234567 / none",
        "0821234567 - mother", "no sms: 0821234567",
    ]  # fmt: skip
    assert each(phones, texts) == dict.fromkeys(texts, (OURS, "phone_remark"))


def test_what_is_no_phone_number_is_left_out() -> None:
    texts = [
        "O821234567", "082123456O", "o82 123 4567", "08212E4567", "082123456", "08212345678",
        "12345", "0", "0000000000", "0921234567", "none", "no cell", "+27 82 123 456",
        "+27 82 123 45678",
        "+999 123 4567", "+1 23", "0821234567 2nd floor", "123 Main Road", "a@b.org",
        "8001015009087", "082123 / 0837654321", "x" * 500, "1" * 500, "-0821234567x3y",
        "082 123 45 67 89",
    ]  # fmt: skip
    assert each(phones, texts) == dict.fromkeys(texts, (None, "phone_unclear"))


def test_a_shortened_phone_number_is_named_so() -> None:
    texts = ["8.21235E+08", "8,21235E+08", "2.78212E+10", "8.2E8", "2.8e+10"]  # fmt: skip
    assert each(phones, texts) == dict.fromkeys(texts, (None, "phone_shortened"))


def test_other_countries_numbers_stay_theirs() -> None:
    cases = {
        "+44 20 7946 0958": "+442079460958", "+44 (0)20 7946 0958": "+442079460958",
        "0044 20 7946 0958": "+442079460958", "+1 (202) 555-0143": "+12025550143",
        "+263 77 123 4567": "+263771234567", "+266 2212 3456": "+26622123456",
        "00266 2212 3456": "+26622123456", "+258 82 123 4567": "+258821234567",
    }  # fmt: skip
    assert each(phones, cases) == {text: (number, None) for text, number in cases.items()}
    for number in cases.values():
        assert phonenumbers.is_possible_number(phonenumbers.parse(number, None))


@given(st.text("0123456789+()-/ .xextwifor;,\u2013", max_size=40))
@settings(max_examples=few(20, more=150), deadline=None)
def test_a_phone_number_is_one_of_phonenumbers_or_none(text: str) -> None:
    number, _ = one(phones, text)
    if number is not None:
        parsed = phonenumbers.parse(str(number), None)
        assert phonenumbers.is_possible_number(parsed)
        digits = "".join(filter(str.isdigit, text))
        assert str(parsed.national_number) in digits


def test_an_amount_is_right_flagged_or_left_out() -> None:
    cases: list[tuple[str, str | None, str | None]] = [
        *((cell, "10.00", None) for cell in (
            "10", "10.0", "10.00", "10,00", "10,0", "R10", "R 10", "R10.00", "r10,00", "ZAR10",
            "ZAR 10.00", "R.10.00", "R. 10", "R10-00", "R10=00", "10 rand", "R10.00 ZAR", "10.0000",
            "'10.00", "\u00a010.00", "1E1", "1E+1", "1.0E1", "R\u200b10", "R10.",
            "R10,-", "10.--", "10,=", "R10,\u2013",
        )),
        *((cell, "1200.50", None) for cell in (
            "1200.50", "1200.5", "1200,5", "1 200.50", "1 200,50", "R 1 200,50", "1,200.50",
            "1.200,50", "R1 200-50", "1 200-50",
            "R1,200.5", "1'200.50", "1\u00a0200,50", "1\u202f200,50", "1200.49999999999",
        )),
        ("1,200,000", "1200000.00", "amount_implausible"),
        ("1.200.000,00", "1200000.00", "amount_implausible"),
        ("2024", "2024.00", "amount_implausible"),
        ("20240503", "20240503.00", "amount_implausible"), ("R2024.50", "2024.50", None),
        (".50", "0.50", None),
        ("R.50", None, "amount_ambiguous"), ("R. 50", "50.00", None),
        ("5000c", None, "amount_ambiguous"),
        ("0", "0.00", None),
        ("1,200", "1200.00", "amount_thousands"), ("R12,345", "12345.00", "amount_thousands"),
        ("R20 p.a.", "20.00", "amount_remark"), ("R20 per year", "20.00", "amount_remark"),
        ("R20pm", "20.00", "amount_remark"), ("R20 (cash)", "20.00", "amount_remark"),
        ("R10.00c", "10.00", "amount_remark"), ("50c", "0.50", "amount_remark"),
        ("10.12345", "10.12", "amount_rounded"), ("1234567.891", "1234567.89", "amount_rounded"),
        *((cell, None, "amount_ambiguous") for cell in ("1.200", "10.005", "10.000", "0,500",
        "0.005")),
        *((cell, None, "amount_negative") for cell in (
            "-10", "(10.00)", "R-10", "R -10", "10-", "- 10", "10.00 CR", "-R10",
        )),
        *((cell, None, "amount_unclear") for cell in (
            "free", "ten rand", "1,2,3", "1.2.3", "10.5.5", "1 2 3", "R", "$10", "10 USD", "R1k",
            "10%",
            "R10 + R5", "10/20", "R10/month", "12 345 678 901", "1234567890", "\u0663", "1,20,000",
            "10 for 2025", "R1O", "1o", "x" * 300, "9" * 300, "1..2", "1,,2", "R10 R20",
        )),
    ]  # fmt: skip
    expected = {text: (amount and Decimal(amount), code) for text, amount, code in cases}
    assert each(amounts, expected) == expected


@settings(max_examples=few(20, more=100))
@given(
    cents=st.integers(0, 10**6),
    decimal=st.sampled_from(".,"),
    group=st.sampled_from(["", " ", "'"]),
)
def test_an_amount_with_cents_is_itself(cents: int, decimal: str, group: str) -> None:
    whole = f"{cents // 100:,}".replace(",", group)
    found, code = one(amounts, f"R{whole}{decimal}{cents % 100:02}")
    assert (found, code) == (Decimal(cents).scaleb(-2), None)


def test_an_address_is_right_flagged_or_left_out() -> None:
    cases: list[tuple[str, str | None, str | None]] = [
        *((cell, "ann@example.org", None) for cell in (
            "ann@example.org", "Ann@Example.ORG", " ann@example.org ", "<ann@example.org>",
            "mailto:ann@example.org", "Ann Bosman <ann@example.org>", "Email: ann@example.org",
            "'ann@example.org", "'ann@example.org'",
            '"ann@example.org"', "\u201cann@example.org\u201d",
            "ann@example.org.", "ann@example.org,", "ann@example.org;", "ann@example.org\u200b",
            "ann@example.org, ann@example.org", "ann@\u00adexample.org",
        )),
        ("o'brien@example.org", "o'brien@example.org", None),
        ("a.b+c@mail.example.co.za", "a.b+c@mail.example.co.za", None),
        ("zo\u00eb@example.org", "zo\u00eb@example.org", None),
        ("ann@example.org (work)", "ann@example.org", "email_remark"),
        ("ann@example.org; bob@example.org", "ann@example.org", "email_several"),
        ("ann@example.org/bob@example.org", "ann@example.org", "email_several"),
        ("ann@example.org bob@example.org", "ann@example.org", "email_several"),
        *((cell, None, "email_unclear") for cell in (
            "none", "ann", "ann@", "@example.org", "ann@example", "ann@example..org", "ann@.org",
            "ann.@example.org", "ann..b@example.org", "ann@@example.org", "ann@exa mple.org",
            "ann@example,org", "ann at example.org", "ann(at)example.org", "www.example.org",
            "ann@192.168.1.1", "ann@example.o", "ann@-example.org", "ann@example-.org",
            "ann@example.org; bob@", "ann b@example.org", "0821234567", "x@" + "y" * 300 + ".org",
            "ann@example.org-", "ann@example.org/",
        )),
    ]  # fmt: skip
    expected = {text: (address, code) for text, address, code in cases}
    assert each(emails, expected) == expected


def test_a_ward_is_its_number_or_its_code() -> None:
    cases: list[tuple[str, str | None, str | None]] = [
        *((cell, "12", None) for cell in (
            "12", "12.0", "12,0", "012", "Ward 12", "ward12", "WARD: 12", "Ward no. 12",
            "Wyk 12", "W12",
            "W 12", "#12", "Ward-12", "iwadi 12", "Ward 012",  "12.00",
        )),
        *((cell, "79800012", None) for cell in (
            "79800012", "79800012.0", "7.9800012E7", "Ward 79800012", "79800012,0",
        )),
        *((cell, kept, "ward_implausible") for cell, kept in (
            ("8001", "8001"), ("151", "151"), ("Soweto", "Soweto"), ("12A", "12A"), ("12/13",
            "12/13"),
            ("Ward 12 and 13", "Ward 12 and 13"), ("0", "0"), ("-1", "-1"),
        )),
        ("7.98E+07", None, "ward_unclear"), ("N/A", None, None), ("-", None, None),
    ]  # fmt: skip
    expected = {text: (ward, code) for text, ward, code in cases}
    assert each(cells.wards, expected) == expected


def test_a_first_name_is_kept_flagged_or_none() -> None:
    cases: list[tuple[str, str | None, str | None]] = [
        *((cell, cell, None) for cell in (
            "Thandi", "THANDI", "thandi", "Mary Ann", "Jan-Hendrik", "D'Arcy", "'Masechaba",
            "Zo\u00eb",
            "Th\u00e9r\u00e8se", "N'wamitwa", "St. John", "Thandi J",
            "\u1e3coro", "Nonhlanhla Buhle", "Mo", "Li", "Nothing", "First1", "Khaya-Lethu",
        )),
        ("  Mary \t Ann ", "Mary Ann", None), ("Zoe\u0308", "Zo\u00eb", None),
        ("Zo\u00eb\u200b", "Zo\u00eb", None), ("O\u2019Brien", "O'Brien", None),
        ('"Thandi"', "Thandi", None), ("\u201cThandi\u201d", "Thandi", None), ("Ann\x1a", "Ann",
        None),
        ("Jan\u2013Piet", "Jan-Piet", None),         ("Mary\u00a0Ann", "Mary Ann",
        None), ("D\x92Arcy", "D'Arcy", None),
        *((cell, None, None) for cell in (
            "-", ".", "--", "N/A", "n/a", "NA", "NULL", "null", "None", "none", "0", "???", "#",
            "12345",
            "nan", "NaN", "TBA", "No name", "not known", "n.v.t.", "(blank)", "\u200b", "*", "!!!",
        )),
        *((cell, cell, "name_initials") for cell in ("x", "T", "J.P.", "J.P", "J P", "JP",
        "T. M.", "KTM")),
        *((cell, cell, "name_doubtful") for cell in (
            "Test", "Unknown", "Nan", "Null", "Zo?", "Zo\ufffd", "Zo\u00c3\u00ab", "Mr Sipho",
            "Mrs. Dube",
            "thandi@example.org", "Thandi 0821234567", "Firstname", "Voornaam", "Deceased",
            "Thandi (Tee)", '"Tee" Thandi', "Sipho Jr.", "Thandi & Sipho", "Thandi and Sipho",
            "Jan en Piet",
            "Thandi/Tee", "Thandi, Sipho", "Late Thandi", "Thandi RIP", "Thandi n\u00e9e Zulu",
            "Mrs", "Ward 12",
            "TRUE", "Female", "Gauteng", "Paid", "-Thandi-", "Thandi *", "Thandi;Tee",
            "x" * 61,
        )),
    ]  # fmt: skip
    found = first(cells.clean(cells.shown(pl.Series("cell", [text for text, *_ in cases]))))
    for case, name, code in zip(cases, found.values, found.doubts, strict=True):
        assert case == (case[0], name, code)


def test_a_surname_may_be_short_and_have_no_vowel() -> None:
    column = pl.Series("cell", ["Ng", "NG", "De", "Nel", "van der Merwe", "M"])
    found = last(column)
    assert found.values.to_list() == column.to_list()
    assert found.doubts.to_list() == [None] * 5 + ["name_initials"]


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("Thandi Mokoena", ("Thandi", "Mokoena")),
        ("Nomsa Buhle Dube", ("Nomsa Buhle", "Dube")),
        ("Mpho Van der Merwe", ("Mpho", "Van der Merwe")),
        ("Mary Ann Du Plessis", ("Mary Ann", "Du Plessis")),
        ("Johan le Roux", ("Johan", "le Roux")), ("Ann De Villiers", ("Ann", "De Villiers")),
        ("Angus Mac Donald", ("Angus", "Mac Donald")), ("Angus MacDonald", ("Angus", "MacDonald")),
        ("Pieter Janse van Rensburg", ("Pieter", "Janse van Rensburg")),
        ("Jan van 't Hoff", ("Jan", "van 't Hoff")), ("Jan van den Berg", ("Jan", "van den Berg")),
        ("Mokoena, Thandi", ("Thandi", "Mokoena")),
        ("Van der Merwe, Mpho Ann", ("Mpho Ann", "Van der Merwe")),
        ("MOKOENA Thandi Ann", ("Thandi Ann", "MOKOENA")),
        ("VAN DER MERWE Mpho", ("Mpho", "VAN DER MERWE")),
        ("Thandi MOKOENA", ("Thandi", "MOKOENA")), ("THANDI MOKOENA", ("THANDI", "MOKOENA")),
        ("J.P. Botha", ("J.P.", "Botha")), ("JP Botha", ("JP", "Botha")), ("J P Botha", ("J P",
        "Botha")),
        ("Mr Sipho Dube", ("Sipho", "Dube")), ("Dr. Ann de Klerk", ("Ann", "de Klerk")),
        ("Sipho Ndlovu-Khumalo", ("Sipho", "Ndlovu-Khumalo")),
        ("Van der Merwe Mpho", ("Mpho", "Van der Merwe")),
        ("Madonna", ("Madonna", None)), ("Mrs Nel", (None, "Nel")), ("De Villiers",
        (None, "De Villiers")),
        ("Van der Merwe", (None, "Van der Merwe")),
    ],
)  # fmt: skip
def test_a_whole_name_is_split_by_the_rule(
    whole: str, parts: tuple[str | None, str | None]
) -> None:
    assert split(whole) == parts


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("Mokoena Thandi", ("Thandi", "Mokoena")),
        ("Van der Merwe Mpho Ann", ("Mpho Ann", "Van der Merwe")),
        ("Janse van Rensburg Pieter", ("Pieter", "Janse van Rensburg")),
        ("Botha J.P.", ("J.P.", "Botha")), ("Mokoena, Thandi", ("Thandi", "Mokoena")),
        # The header says one thing and the cell another.
        ("Mary Ann Du Plessis", ("Mary Ann", "Du Plessis")),
        ("Madonna", (None, "Madonna")),
    ],
)  # fmt: skip
def test_a_header_may_name_the_surname_first(
    whole: str, parts: tuple[str | None, str | None]
) -> None:
    assert split(whole, is_surname_first=True) == parts


@given(st.text(max_size=30))
def test_no_letter_of_a_whole_name_is_lost(text: str) -> None:
    parts = split(" ".join(text.split()))
    kept = "".join(filter(str.isalpha, "".join(part or "" for part in parts)))
    assert set(kept) <= set(text)


def test_an_id_number_is_itself_or_refused() -> None:
    cases: list[tuple[str, str | None, str | None]] = [
        *((cell, "8001015009087", None) for cell in (
            "8001015009087", "8001015009087.0", "8001015009087,0", "800101 5009 087",
            "800101-5009-087",
            "800101/5009/087", "800101.5009.087", "8,001,015,009,087", "8 001 015 009 087",
            "'8001015009087",
            "8001015009087,", "8001015009087.", "8.001015009087E12", "8.001015009087E+12",
            "8,001015009087E+12", '="8001015009087"', "\u200e8001015009087", "800101_5009_087",
        )),
        ("1015010083", "0001015010083", "id_zeros_restored"),
        ("1.015010083E9", "0001015010083", "id_zeros_restored"),
        *((cell, None, "id_shortened") for cell in (
            "8.00102E+12", "8,00102E+12", "8.001015E+12", "8.0010150090E+12", "8e+12", "8.00102E12",
        )),
        *((cell, "8001015009087", "id_remark") for cell in (
            "ID: 8001015009087", "8001015009087 (SA)", "ID No. 800101 5009 087",
            "RSA ID 8001015009087",
            "i.d. number 8001015009087", "Nr 8001015009087", "8001015009087 RSA", "(8001015009087)",
            "8001015009087 (South African)", "Identiteitsnommer: 8001015009087",
        )),
        # No such number, or perhaps another person's.
        *((cell, cell.replace(" ", ""), None) for cell in (
            "ID: 8001015009088", "ID: 8013015009087", "wife 8001015009087", "8001015009087A",
            "8001015009087?", "SA 80010150090871",
        )),
        ("ABC", "ABC", None), ("8001015009087 8001015009087", "80010150090878001015009087", None),
    ]  # fmt: skip
    expected = {text: (number, code) for text, number, code in cases}
    assert each(partial(id_numbers.numbers, today=TODAY), expected) == expected


KINDS: dict[str, Callable[[pl.Series], Understood]] = {
    "phones": phones, "amounts": amounts, "emails": emails, "wards": cells.wards,
    "ages": cells.ages,
    "districts": cells.voting_districts, "first": first, "last": last,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.one_of(st.none(), st.text(max_size=25)), max_size=12))
@settings(max_examples=few(12, more=40), deadline=None)
def test_any_texts_are_understood_each_by_itself(kind: str, texts: list[str | None]) -> None:
    column = cells.clean(cells.shown(pl.Series("cell", texts, dtype=pl.String)))
    found = KINDS[kind](column)
    assert len(found.values) == len(found.doubts) == len(texts)
    assert set(found.doubts.drop_nulls()) <= catalogue().keys()
    for place, text in enumerate(column):
        alone = KINDS[kind](pl.Series("cell", [text], dtype=pl.String))
        assert alone.values[0] == found.values[place]
        assert alone.doubts[0] == found.doubts[place]
        if text is None:
            assert found.values[place] is found.doubts[place] is None


@given(st.lists(st.text(max_size=20), max_size=10))
@settings(max_examples=few(15, more=80), deadline=None)
def test_clean_text_stays_as_it_is(texts: list[str]) -> None:
    once = cells.clean(cells.shown(pl.Series("cell", texts, dtype=pl.String)))
    assert cells.clean(once).to_list() == once.to_list()
    for text in once.drop_nulls():
        assert text == " ".join(text.split())


#: Texts that some step may change or report, or that are near to those.
ODD = [
    "", " ", "do", "Do.", "DITTO", "as above", "- do -", '"', '-"-', "n/a", "N/A", "na", "NA",
    "Nan", "n.v.t.", "(blank)", "null", "[NULL]", "-", "---", "...", "__", "//", "**", "undefined",
    "#N/A", "#REF!", "#####", "#NOT_CALCULATED!", "Err:502", "#4", '="0821234567"', '=" a "',
    "'0821234567", '"Tee" Thandi', "'x'", "a\nb", "a  b", "a b ", "Dodo", "a/b", "-5", "a-b",
]  # fmt: skip
SIGNS = [chr(code) for code in range(0x3100) if not 0x20 <= code < 0x7F]


def check_cleaned_like_the_steps(texts: list[str | None]) -> None:
    column = pl.Series("cell", texts, dtype=pl.String)
    for is_required in (False, True):
        found = cells.cleaned(column, is_required=is_required)
        shown = cells.shown(column)
        assert found.shown.to_list() == shown.to_list()
        assert found.clean.to_list() == cells.clean(shown).to_list()
        faults = cells.faults(shown, is_required=is_required)
        assert (found.faults is None) == (faults is None)
        if faults is not None and found.faults is not None:
            assert found.faults.to_list() == faults.to_list()
    others = found.clean.filter(~pl.int_range(len(column), eager=True).is_in(found.odd.implode()))
    assert cells.without_nothing(others).to_list() == others.to_list()
    assert not has_lines(others).any()


def test_only_odd_texts_are_changed_or_reported() -> None:
    check_cleaned_like_the_steps([*ODD, *(text.upper() for text in ODD), None, "Thandi"])
    check_cleaned_like_the_steps([*SIGNS, *(f"a{sign}b" for sign in SIGNS)])
    check_cleaned_like_the_steps(["Thandi", "O'Brian", "12 Main Road", None])


@given(st.lists(st.one_of(st.none(), st.sampled_from(ODD), st.text(max_size=12)), max_size=10))
@settings(max_examples=few(12, more=60), deadline=None)
def test_any_texts_are_cleaned_as_by_the_single_steps(texts: list[str | None]) -> None:
    check_cleaned_like_the_steps(texts)


def test_a_column_is_understood_once_for_each_text() -> None:
    randomness = random.Random(3)
    values = [randomness.choice(["a", "b", None, "c"]) for _ in range(1_000)]
    column = cells.column_of(pl.Series("cell", values))
    assert column.places is not None
    assert sorted(column.texts) == ["a", "b", "c"]
    assert column.rows(column.texts).to_list() == values
    assert cells.column_of(pl.Series("cell", [str(n) for n in range(1_000)])).places is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("O&#039;Brien", "O'Brien"), ("O&#x27;Brien", "O'Brien"), ("Zo&euml;", "Zo\u00eb"),
        ("A &amp; B", "A & B"), ("A &amp;amp;amp; B", "A & B"),
        ("4 Long St<br />Town", "4 Long St Town"),
        ("4 Long St<BR>Town", "4 Long St Town"), ("4&nbsp;Long St", "4 Long St"),
        ("&quot;Tee&quot; Thandi", '"Tee" Thandi'), ("Thandi&#8203;", "Thandi"), ("&nbsp;", None),
        # None of these is markup.
        ("R&D; x", "R&D; x"), ("A&B", "A&B"), ("&unheardof;", "&unheardof;"), ("<b>", "<b>"),
        ("Smith & Sons; Long St", "Smith & Sons; Long St"),
    ],
)  # fmt: skip
def test_what_a_web_program_has_escaped_is_itself_again(text: str, meant: str | None) -> None:
    cleaned = cells.clean(pl.Series("cell", [text, "Thandi", None]))
    assert cleaned.to_list() == [meant, "Thandi", None]
    assert cells.cleaned(pl.Series("cell", [text]), is_required=False).clean.to_list() == [meant]


def test_text_that_is_escaped_very_often_takes_no_time() -> None:
    text = "&" + "amp;" * 30_000
    assert cells.clean(pl.Series("cell", [text])).str.len_bytes()[0] > 100_000
