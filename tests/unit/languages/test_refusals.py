"""The sentences of files that can't be read, in the language of their sender."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from rollbook import languages
from rollbook.errors import FileProblemError, RollbookError, UnsupportedFileError
from rollbook.languages import phrase, speaking
from rollbook.pipeline.prefetch import prefetch
from rollbook.pipeline.read import Wanted, read
from rollbook.spreadsheets.kinds import check_beginning, kind_of

TAGS = [tag for tag in languages.available() if tag != languages.ENGLISH]
HEADER = b"ID Number,Firstname,Surname\n"
ROW = b"8001015009087,Ann,Aa\n"
OPEN_QUOTE = (Path(__file__).parents[2] / "golden/cases/open_quote_ids_spaced.csv").read_bytes()
ZIP = b"PK\3\4 and no archive"


def refusal(path: Path, content: bytes, wanted: Wanted | None = None) -> RollbookError:
    """The error with which a file is refused, where the next batch is read on another thread."""
    path.write_bytes(content)
    with pytest.raises(FileProblemError) as refused:
        list(prefetch(read(path, path.suffix[1:], wanted)))
    return refused.value


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.xlsx", ZIP, "refusal.file.damaged"),
        ("a.csv", HEADER, "refusal.no_rows"),
        ("a.csv", HEADER + ROW + bytes(5000), "refusal.file.incomplete"),
        ("a.csv", OPEN_QUOTE, "refusal.file.open_quote"),
    ],
)
def test_a_file_is_refused_in_the_language_of_its_sender(
    tag: str, name: str, content: bytes, key: str, tmp_path: Path
) -> None:
    with speaking(tag):
        said = refusal(tmp_path / name, content).message
        beginning = str(languages.texts(tag)[key]).partition("{")[0]
    assert said.startswith(beginning)
    assert beginning not in refusal(tmp_path / name, content).message


@pytest.mark.parametrize("tag", TAGS)
def test_a_sheet_or_header_that_is_not_there_is_named_in_it(tag: str, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Members"
    book.active.append(["ID Number", "Firstname", "Surname"])
    book.active.append(["8001015009087", "Ann", "Aa"])
    path = tmp_path / "members.xlsx"
    book.save(path)
    content = path.read_bytes()
    with speaking(tag):
        no_sheet = phrase("refusal.file.no_sheet", sheet="Lede", sheets="'Members'")
        assert refusal(path, content, Wanted(sheet="Lede")).message == no_sheet
        headers = "'ID Number', 'Firstname', 'Surname'"
        no_header = phrase("refusal.file.no_header", missing="'Sel'", headers=headers)
        wanted = Wanted(columns={"Sel": "cell_number"})
        assert refusal(path, content, wanted).message == no_header


@pytest.mark.parametrize("tag", TAGS)
def test_a_name_that_lies_is_refused_in_it(tag: str) -> None:
    with speaking(tag):
        with pytest.raises(UnsupportedFileError) as refused:
            check_beginning(b"<html><table>", "xls", "members.xls")
        assert phrase("content.html") in refused.value.message
        assert phrase("refusal.next.save") in refused.value.message
        with pytest.raises(UnsupportedFileError) as unknown:
            kind_of("members.mht")
        assert unknown.value.message.startswith(phrase("refusal.ending.sheet", ending="mht"))
