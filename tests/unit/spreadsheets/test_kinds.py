"""What a file's name and first bytes say it is."""

from __future__ import annotations

import pytest

from rollbook.errors import UnsupportedFileError
from rollbook.folder.claims import is_wanted
from rollbook.spreadsheets.kinds import check_beginning, fits, kind_of, text_order

TEXT = "ID Number,Firstname\n8001015009087,Zoë\n"


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "TXT"])
def test_every_ending_of_a_text_is_one_kind(ending: str) -> None:
    assert kind_of(f"members.{ending}") == "csv"
    assert is_wanted(f"members.{ending}")


def test_the_explanation_of_a_refused_file_is_no_file_of_members() -> None:
    assert not is_wanted("members.csv.error.txt")


@pytest.mark.parametrize(
    ("codec", "order"),
    [
        ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"), ("utf-8", None), ("utf-8-sig", None), ("cp1252", None),
    ],
)  # fmt: skip
def test_text_of_wide_characters_is_known_without_a_byte_order_mark(
    codec: str, order: str | None
) -> None:
    content = TEXT.encode(codec)
    assert text_order(content) == order
    assert fits(content, "csv")
    # With an end of zeros it is still the same text.
    assert text_order(content + bytes(400)) == order


@pytest.mark.parametrize("end", [b"\0", b"\0\0\0", b"\x1a", b"\r\n\x1a\0"])
def test_what_old_programs_put_at_the_end_of_a_text_makes_it_nothing_else(end: bytes) -> None:
    assert fits(TEXT.encode() + end, "csv")


@pytest.mark.parametrize(
    "content", [b"\0\0\0\0", b"\0", b"ID\0\1\2\0\3", b"\1\0\0\2\0\0\0\3\xff\0" * 20, b"MZ\x90\0\3"]
)
def test_bytes_that_are_no_text_are_refused(content: bytes) -> None:
    assert not fits(content, "csv")
    with pytest.raises(UnsupportedFileError, match=r"The name says \.tsv, but the content is"):
        check_beginning(content, "csv", "members.tsv")


@pytest.mark.parametrize("name", ["members.pdf", "members.docx"])
def test_a_document_is_not_to_be_opened_in_excel(name: str) -> None:
    with pytest.raises(UnsupportedFileError, match="Send the spreadsheet that it was made from"):
        kind_of(name)
    with pytest.raises(UnsupportedFileError, match="Send the spreadsheet that it was made from"):
        check_beginning(b"%PDF-1.7", "xlsx", "members.xlsx")
