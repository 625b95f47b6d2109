"""What comes over the wire: counted as it comes, and named by what it is (ASVS 5.2.1, 5.2.2)."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from rollbook.api.form import ROOM_FOR_THE_REST
from tests.files import csv_file, members, workbook
from tests.security.files import compound, repacked
from tests.security.house import BASE
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.security.house import House

#: Of the house; see its settings.
LIMIT = 8 << 20
BOUNDARY = "7f6e5d4c3b2a"
END = f"\r\n--{BOUNDARY}--\r\n".encode()
#: What may be under way in the kernel's buffers of both ends when the server stops reading.
BUFFERS = sum(
    int(Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[-1])
    for name in ("tcp_rmem", "tcp_wmem")
)
OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def head(name: str, *, length: int | None, token: dict[str, str]) -> bytes:
    """The head of a request; without a length it is sent in chunks."""
    how = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (
        f"POST {BASE}/process HTTP/1.1",
        "Host: rollbook",
        f"Authorization: {token['Authorization']}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        how,
    )
    assert name.isprintable()
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def part(name: str) -> bytes:
    """The head of the part that holds the file."""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    ).encode()


def padded(size: int) -> bytes:
    """A CSV of exactly so many bytes."""
    content = csv_file(members(2, start=9_000_000))
    blank_rows = (b" " * 1023 + b"\n") * (size // 1024)
    return content + blank_rows[: size - len(content)]


class Client:
    """A client that sends what it likes and reads when it likes."""

    def __init__(self, house: House, token: dict[str, str] | None = None) -> None:
        place = ("127.0.0.1", house.settings.port)
        self._socket = socket.create_connection(place, timeout=PATIENCE_S)
        self._token = token or house.bearer("super")
        self.sent = 0

    def begin(self, name: str, *, length: int | None = None) -> None:
        """Send the head of a request."""
        self._socket.sendall(head(name, length=length, token=self._token))

    def chunk(self, content: bytes) -> None:
        """Send a chunk of a body without a length; the empty one is the last."""
        self._socket.sendall(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.sent += len(content)

    def pour(self, piece: bytes, most: int) -> None:
        """Send chunk after chunk until the server stops reading."""
        try:
            while self.sent < most:
                self.chunk(piece)
        except (ConnectionError, TimeoutError):
            return

    def raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(content)
        self.sent += len(content)

    def answer(self) -> str:
        """What the server says, up to where it closes the line or has said all."""
        answer, deadline = b"", time.monotonic() + PATIENCE_S
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith((b"}", b"0")):
            assert time.monotonic() < deadline, answer
            try:
                piece = self._socket.recv(65536)
            except ConnectionError:
                break
            if not piece:
                break
            answer += piece
        return answer.decode()

    def hang_up(self) -> None:
        """End the connection without a word."""
        self._socket.close()


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    opened = Client(house)
    yield opened
    opened.hang_up()


def store_of(house: House) -> Path:
    return Path(unquote(urlsplit(house.settings.store_address).path))


def kept(house: House) -> set[str]:
    """Every source in the store, those under way included."""
    # A walk continues where a folder is removed meanwhile.
    files = (Path(top, name) for top, _, names in os.walk(store_of(house)) for name in names)
    return {str(path) for path in files if path.name.startswith("source")}


@contextmanager
def nothing_kept(house: House) -> Iterator[None]:
    """Inside, the store and the record take in nothing that stays."""
    count = "SELECT count(*) FROM uploads"
    # Sources of what is through go at any moment; a new one must not stay.
    before, recorded = kept(house), house.ask(count)
    yield
    until(lambda: kept(house) <= before, "what was begun is removed from the store")
    assert house.ask(count) == recorded


@pytest.mark.parametrize("has_length", [True, False], ids=["length", "chunked"])
def test_a_file_of_the_limit_is_taken_and_one_byte_more_is_not(
    house: House, client: Client, *, has_length: bool
) -> None:
    fits = padded(LIMIT - int(has_length))  # two files of different content
    body = part("fits.csv") + fits + END
    send_body(client, body if has_length else [body[:100_000], body[100_000:]])
    assert " 202 " in client.answer().splitlines()[0]
    body = part("large.csv") + padded(LIMIT + 1) + END
    with nothing_kept(house):
        second = Client(house)
        send_body(second, body if has_length else [body[:100_000], body[100_000:]])
        answer = second.answer()
        second.hang_up()
    assert " 413 " in answer.splitlines()[0]
    assert "larger than 8 MB" in answer
    assert "nothing was kept" in answer


def send_body(client: Client, body: bytes | list[bytes]) -> None:
    """Send a file whole, with its length before it, or in chunks, of which nobody says how many."""
    if isinstance(body, bytes):
        client.begin("whole", length=len(body))
        client.raw(body)
        return
    client.begin("chunked")
    for piece in body:
        client.chunk(piece)
    client.chunk(b"")


def test_a_body_without_end_is_stopped_where_it_passes_the_limit(
    house: House, client: Client
) -> None:
    with nothing_kept(house):
        client.begin("endless")
        client.chunk(part("endless.csv") + csv_file(2))
        client.pour(b"x" * 65536, most=1 << 30)
        answer = client.answer()
    assert client.sent < LIMIT + ROOM_FOR_THE_REST + BUFFERS
    # A client that keeps sending may be disconnected before it reads the answer.
    assert not answer or " 413 " in answer.splitlines()[0]
    assert house.answers()


def test_nobody_can_send_for_ever_behind_an_answer(house: House) -> None:
    stranger = Client(house, {"Authorization": "Bearer nobody"})
    stranger.begin("endless")
    stranger.pour(b"x" * 65536, most=1 << 30)
    answer = stranger.answer()
    stranger.hang_up()
    assert stranger.sent < LIMIT + ROOM_FOR_THE_REST + BUFFERS
    assert not answer or " 401 " in answer.splitlines()[0]


def test_a_length_over_the_limit_is_refused_before_a_byte_of_the_body(
    house: House, client: Client
) -> None:
    with nothing_kept(house):
        client.begin("said", length=LIMIT + ROOM_FOR_THE_REST + 1)
        assert " 413 " in client.answer().splitlines()[0]


@pytest.mark.parametrize("has_length", [True, False], ids=["length", "chunked"])
def test_of_a_body_that_breaks_off_nothing_is_left(
    house: House, client: Client, *, has_length: bool
) -> None:
    with nothing_kept(house):
        before = kept(house)
        beginning = part("torn.csv") + padded(6_000_000)
        if has_length:
            client.begin("torn", length=LIMIT)
            client.raw(beginning)
        else:
            client.begin("torn")
            client.chunk(beginning)
        until(lambda: kept(house) - before, "the store has begun to take it in")
        client.hang_up()


_HTML = b"<!DOCTYPE html><html><body><table><tr><td>ID Number</td></tr></table></body></html>"
_PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"


def _renamed_zip() -> bytes:
    return repacked(workbook(2), leave_out="[Content_Types].xml")


#: The name, the content, and words of the sentence: refused while it is received.
AT_THE_DOOR: list[tuple[str, bytes, str]] = [
    ("page.xlsx", _HTML, "the content is a web page (HTML)"),
    ("page.xls", _HTML, "the content is a web page (HTML)"),
    ("page.csv", b"\xef\xbb\xbf\n " + _HTML, "the content is a web page (HTML)"),
    ("table.csv", b"<TABLE><tr>", "the content is a web page (HTML)"),
    ("feed.csv", b'<?xml version="1.0"?><a/>', "the content is XML"),
    ("paper.xlsx", _PDF, "the content is a PDF document"),
    ("paper.csv", _PDF, "the content is a PDF document"),
    ("letter.csv", b"{\\rtf1 x}", "a text document (RTF)"),
    ("packed.csv", b"\x1f\x8b\x08" + bytes(20), "a compressed file (gzip)"),
    ("saved.xls", b"MIME-Version: 1.0\r\nX-Document-Type: Workbook\r\n", "a web page (MHTML)"),
    ("saved.csv", b"From: <x>\r\nSubject: a\r\nMIME-Version: 1.0\r\n", "a web page (MHTML)"),
    ("wide.csv", "<html><table>".encode("utf-16"), "the content is a web page (HTML)"),
    ("dump.csv", b"-- MySQL dump\n\nCREATE TABLE `m` (\n", "commands of a database (SQL)"),
    ("phone.csv", b"BEGIN:VCARD\nVERSION:3.0\n", "contacts of a phone (vCard)"),
    ("data.txt", b'[\n {"id": "x"}]', "data of a program (JSON)"),
    ("program.csv", b"MZ\x90\x00" + bytes(60), "a program"),
    ("program.xlsx", b"\x7fELF" + bytes(60), "a program"),
    ("script.csv", b"#!/bin/sh\nid\n", "a program"),
    ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(20), "a picture"),
    ("renamed.csv", workbook(2), "a workbook of Excel (.xlsx)"),
    ("old.csv", OLE2 + bytes(600), "an older workbook (.xls)"),
    ("text.xlsx", csv_file(2), "the content is plain text"),
    ("text.xls", csv_file(2), "the content is plain text"),
    ("binary.csv", b"ID Number\n\x00\x01\x02", "something else"),
    ("macros.xlsm", csv_file(2), "says .xlsm, but the content is plain text"),
    ("open.ods", csv_file(2), "says .ods, but the content is plain text"),
    ("flat.fods", workbook(2), "says .fods, but the content is a workbook of Excel (.xlsx)"),
    ("flat.fods", b"<?xml version='1.0'?><html/>", "says .fods, but the content is a web page"),
    ("template.xltm", workbook(2), ".xltm can't be taken in, because it holds programs"),
    ("addin.xlam", workbook(2), ".xlam can't be taken in, because it holds programs"),
    ("binary.xlsb", csv_file(2), "says .xlsb, but the content is plain text"),
    ("page.txt", b"<!doctype html><table>", "a web page"),
    ("program.tsv", b"MZ\x90\x00", "says .tsv, but the content is a program"),
    ("program.exe", b"MZ", "Only .xlsx, .xlsm, .xls, .xlsb, .ods, .fods, .csv, .tsv and .txt"),
    ("no ending", csv_file(2), "Only .xlsx, .xlsm, .xls, .xlsb, .ods, .fods, .csv, .tsv and .txt"),
    (".csv.", csv_file(2), "Only .xlsx, .xlsm, .xls, .xlsb, .ods, .fods, .csv, .tsv and .txt"),
    ("members.csv ", _PDF, "the content is a PDF document"),
    ("members.exe.csv", csv_file(2), "two endings, .exe and .csv"),
    ("members.PHP .XLSX", workbook(2), "two endings, .php and .xlsx"),
    ("members.xlsm.xlsx", workbook(2), "two endings, .xlsm and .xlsx"),
    ("members.exe\u202e.csv", csv_file(2), "two endings, .exe and .csv"),
    ("members.csv\0.exe", csv_file(2), "NUL character"),
    ("members.exe\0.csv", csv_file(2), "NUL character"),
    ("members.csv", b"", "empty (0 bytes)"),
]


def test_what_is_no_spreadsheet_of_ours_is_refused_while_it_is_received(house: House) -> None:
    with nothing_kept(house):
        for name, content, words in AT_THE_DOOR:
            answer = posted(house, name, content)
            assert answer["status"] in {415, 422}, (name, answer)
            assert words in answer["message"], (name, answer)
            assert answer["message"].endswith("."), (name, answer)


def posted(house: House, name: str, content: bytes) -> dict[str, Any]:
    """The answer to a file whose name is sent byte for byte, as a browser would never send it."""
    body = part("\1").replace(b"\1", name.encode()) + content + END
    with house.client("super") as client:
        answer = client.post(
            f"{BASE}/process",
            content=body,
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
    found: dict[str, Any] = answer.json()
    return found


#: The same for what only its inside gives away: taken, and failed by the worker with a sentence.
BY_THE_WORKER: list[tuple[str, bytes, str]] = [
    ("binary.xlsx", repacked(add={"xl/workbook.bin": b"\x83\x01"}), "two workbooks"),
    ("locked.xlsx", compound("EncryptionInfo", "EncryptedPackage"), "has a password"),
    ("letter.xls", compound("WordDocument"), "is a document"),
    ("archive.xlsx", _renamed_zip(), "zip archive with another name"),
]


def test_what_only_its_inside_gives_away_fails_with_a_sentence_and_the_worker_lives(
    house: House,
) -> None:
    jobs = {name: house.send("super", content, name) for name, content, _ in BY_THE_WORKER}
    for name, _, words in BY_THE_WORKER:
        status = house.ended("super", jobs[name])
        assert status["status"] == "failed", name
        assert words in status["error"], name
        assert "Nothing was changed." in status["error"]
    good = house.send("super", csv_file(members(2, start=77_000)), "after.csv")
    house.completed("super", good)
