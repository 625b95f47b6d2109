"""Erasure, carried out by a child: the person goes from every stored row and file.

Workbooks that Rollbook wrote are rewritten without the person's rows. A file that an office sent
and that is still stored (of a failed upload or a dry run) is removed as a whole.
"""

from __future__ import annotations

import functools
import html
import re
import shutil
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from rollbook import languages
from rollbook.backends import files
from rollbook.backends.database import holding, queries
from rollbook.errors import BusyError, SourceGoneError
from rollbook.members import duplicates, index
from rollbook.members.person import Person, Traces
from rollbook.uploads.undo import RECORDS_LOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID
    from zipfile import ZipInfo

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.backends.files import FileStore

#: Held by the erasure that is carried out: two at once would write workbooks that they have read
#: before the other one, and with the other one's person.
LOCK: Final = "erasure"
#: Uploads that are looked up at a time.
_AT_ONCE: Final = 100
_CHUNK: Final = 1 << 20
_ROW_END: Final = b"</row>"
_ROW: Final = re.compile(rb"<row [^>]*?(?:/>|>.*?</row>)", re.DOTALL)
#: A number in a row's first cell: the row of the sent file that it is about.
_FIRST: Final = re.compile(rb'<c r="A[0-9]+"[^>]*><v>([0-9]+)</v>')
_TAG: Final = re.compile(r"<[^>]*>")
_SHEET: Final = re.compile(r"xl/worksheets/[^/]+\.xml")
#: A workbook's part with its title.
_PROPERTIES: Final = "docProps/core.xml"
_TITLE: Final = re.compile(rb"<dc:title>(.*?)</dc:title>", re.DOTALL)

#: Tables with columns of people, of which ANALYZE keeps some values.
_SAMPLED: Final = (
    "members", "member_index", "member_changes", "member_corrections", "upload_rows",
    "verifications", "voter_roll_answers", "voter_roll_questions", "undo_kept", "upload_claims",
    "uploads", "erasures", "member_files", "fixable_rows", "member_duplicates", "member_joins",
    "duplicates_due", "file_checks", "partial_files", "value_aliases",
)  # fmt: skip
#: The version of PostgreSQL from which statistics can be cleared.
_CLEARS_STATISTICS: Final = 180_000

_SQL, _LOCKS, _ROLL = queries("member_erase"), queries("locks"), queries("voter_roll")
log = structlog.get_logger(__name__)


def process(
    connection: Connection[Row], store: FileStore, *, erasure_id: UUID, seconds: float
) -> dict[str, Any]:
    """Carry out an erasure, or continue it, for so many seconds; the rest waits for the next call.

    Returns:
        ``is_done``.

    Raises:
        BusyError: an attempt that began before may write the person again, or another erasure is
            being carried out; try later.
    """
    with holding(connection, LOCK, waits=False) as is_held:
        if not is_held:
            raise BusyError("Another erasure is being carried out.")
        return {"is_done": _carried_out(connection, store, erasure_id, seconds)}


def _carried_out(
    connection: Connection[Row], store: FileStore, erasure_id: UUID, seconds: float
) -> bool:
    asked = connection.execute(_SQL["begin"], {"id": erasure_id}).fetchone()
    # Attempts that don't know of the erasure began before this is committed, and are seen after it.
    connection.commit()
    if asked is None:
        return True
    open_ = connection.execute(_SQL["open_attempts"], asked).fetchone()
    connection.commit()
    if open_ is not None and open_["attempts"]:
        raise BusyError("Uploads that began before the erasure are still being processed.")
    work = _Erasure(connection, store, asked)
    work.remove_from_record()
    work.withdraw_exports()
    return work.look_through_files(until=time.monotonic() + seconds) and work.complete()


class _Erasure:
    """One erasure at work."""

    def __init__(self, connection: Connection[Row], store: FileStore, asked: Row) -> None:
        self._connection = connection
        self._store = store
        self._asked = asked
        self._person = Person.of(asked["person"])
        self._counts: dict[str, int] = dict(asked["counts"])
        #: The ordinal of the last upload that was looked at.
        self._looked_to: int = asked["looked_to"]
        #: The parameters of what is linked to the person.
        self._own = {
            "id_number": asked["person"]["key"],
            "person": int(asked["person"]["key"]),
            "member_id": asked["person"]["member_id"],
        }
        #: Of the upload that is looked at: its rows about the person can't be found.
        self._is_report_gone = False

    def remove_from_record(self) -> None:
        """Remove what the record links to the person, in a few transactions.

        Each removes what a member, a line or a pair could be made of again before these, and holds
        the lock of those who do that.

        Raises:
            BusyError: an upload is being undone, or members are joined or separated; try later.
        """
        took = self._connection.execute(_LOCKS["try_name"], {"lock": RECORDS_LOCK}).fetchone()
        if not (took and took["locked"]):
            raise BusyError("An upload is being undone, or members are joined or separated.")
        self._remove(
            ("remove_changes", "former_values"),
            ("remove_joins", "joined_records"),
            ("remove_kept", "undo_lists"),
            ("remove_member", "members"),
        )
        self._connection.execute(_LOCKS["wait"], {"name": index.LOCK})
        self._remove(("remove_index", None), ("remove_due", None))
        self._connection.execute(_LOCKS["wait"], {"name": duplicates.LOCK})
        self._remove(("remove_duplicates_due", None), ("remove_duplicates", "possible_duplicates"))
        self._remove_aliases()
        self._remove(
            ("remove_corrections", "corrections"),
            ("remove_claims", "claims"),
            ("remove_linked_cells", "row_cells"),
            ("blank_linked_rows", "rows"),
        )
        # In the order in which an answer is applied.
        self._connection.execute(_ROLL["lock_uploads"], self._own)
        self._remove(
            ("remove_questions", "voter_roll_questions"),
            ("remove_verifications", "verifications"),
            ("remove_answers", "voter_roll_answers"),
        )

    def _remove(self, *queries_: tuple[str, str | None]) -> None:
        """Carry out deletions, each with the name under which the receipt counts it, and commit."""
        for query, name in queries_:
            self._count(name, self._connection.execute(_SQL[query], self._own).rowcount)
        self._note()

    def withdraw_exports(self) -> None:
        """Remove the exports that were read before the record was removed."""
        own = {"id": self._asked["id"]}
        gone = self._connection.execute(_SQL["withdraw_files"], own).fetchone()
        self._count("exports", gone["removed"] if gone else 0)
        self._note()
        withdrawn = self._connection.execute(_SQL["withdrawn_files"], own).fetchall()
        self._connection.commit()
        for row in withdrawn:
            former = {
                files.members_key(row["id"], row["format"], attempt)
                for attempt in range(row["tries"])
            }
            for key in self._store.keys(row["id"]):
                if row["status"] == "removed" or key in former:
                    self._store.delete(key)

    def _remove_aliases(self) -> None:
        """Remove the office's words that name the person: a cell in the wrong column was one."""
        for listed, removed in (
            ("aliases", "remove_aliases"),
            ("wanted_aliases", "unwant_aliases"),
        ):
            found = self._connection.execute(_SQL[listed]).fetchall()
            ids = [row["id"] for row in found if self._person.is_named_in(row["text"])]
            self._count("aliases", self._connection.execute(_SQL[removed], {"ids": ids}).rowcount)

    def look_through_files(self, *, until: float) -> bool:
        """Look through the files of all uploads; returns whether that is all of them."""
        is_unsent_done = False
        while True:
            page = {"after": self._looked_to, "limit": _AT_ONCE}
            found = self._connection.execute(_SQL["next_uploads"], page).fetchall()
            self._connection.commit()
            if not found and is_unsent_done:
                return True
            if not found:
                # Meanwhile a checked file may become an upload, so uploads are asked for again.
                is_unsent_done = self._look_through_unsent(until=until)
                if not is_unsent_done:
                    return False
            for upload in found:
                with holding(self._connection, files.reports_lock(upload["id"]), waits=True):
                    self._look_at(upload["id"])
                self._looked_to = upload["ordinal"]
                self._note()
                if time.monotonic() > until:
                    return False

    def _look_through_unsent(self, *, until: float) -> bool:
        """Remove what holds the person of the files that are checked, or coming in by parts.

        The parts of a workbook can't be looked into before the last one, so it is removed; its
        sender begins again. What was begun after the erasure was asked for stays: its row about
        the person will be refused.

        Returns:
            Whether that is all of them.

        Raises:
            BusyError: the parts of a file are being joined; try later.
        """
        wanted = {"after": self._asked["unsent_to"], "asked_at": self._asked["created_at"]}
        found = self._connection.execute(_SQL["unsent_files"], wanted).fetchall()
        self._connection.commit()
        for file in found:
            if file["is_joining"]:
                raise BusyError("A file is being joined from its parts.")
            if file["parts"] is None:
                self._look_at_check(file)
            else:
                self._look_at_partial(file)
            noted = {
                "id": self._asked["id"], "unsent_to": file["id"], "counts": Jsonb(self._counts),
            }  # fmt: skip
            self._connection.execute(_SQL["note_unsent"], noted)
            self._connection.commit()
            if time.monotonic() > until:
                return False
        return True

    def _look_at_partial(self, partial: Row) -> None:
        if not self._is_in_parts(partial):
            return
        if not self._connection.execute(_SQL["forget_partial"], partial).rowcount:
            raise BusyError("More of a file has come in meanwhile.")
        self._count("partial_files", 1)
        for key in partial["parts"]:
            self._store.delete(key)
        self._connection.commit()

    def _look_at_check(self, check: Row) -> None:
        key = files.source_key(check["id"], check["file_kind"])
        is_named = self._person.is_named_in(check["file_name"])
        if not is_named and not self._is_in_source(key, check["file_kind"]):
            return
        if self._connection.execute(_SQL["forget_check"], {"id": check["id"]}).rowcount:
            self._count("checked_files", 1)
            self._store.delete(key)
            self._connection.commit()

    def _is_in_parts(self, partial: Row) -> bool:
        if partial["file_kind"] != "csv" or self._person.is_named_in(partial["file_name"]):
            return True
        with tempfile.TemporaryDirectory(prefix="rollbook-") as name:
            part, whole = Path(name) / "part", Path(name) / "whole.csv"
            with whole.open("wb") as out:
                for key in partial["parts"]:
                    try:
                        self._store.fetch(key, part)
                    except SourceGoneError:
                        return True  # nothing can be made of it
                    with part.open("rb") as content:
                        shutil.copyfileobj(content, out)
            return is_in_file(whole, self._person)

    def complete(self) -> bool:
        """Forget whom we looked for, unless the person is there again: then all begins again."""
        # Who asks for missing answers may have read the rows that waited for them.
        self._remove(
            ("remove_questions", "voter_roll_questions"), ("remove_answers", "voter_roll_answers")
        )
        done = {"id": self._asked["id"], "counts": Jsonb(self._counts), **self._own}
        is_done = self._connection.execute(_SQL["complete"], done).rowcount == 1
        if not is_done:
            self._connection.execute(_SQL["begin_again"], done)
            self._connection.commit()
            log.error("erased person is there again", receipt=str(self._asked["id"]))
            return False
        self._renew_statistics()
        self._connection.commit()
        log.info("erasure completed", receipt=str(self._asked["id"]))
        return True

    def _renew_statistics(self) -> None:
        """Let the planner's statistics forget the person, of whom they may hold values."""
        names = sql.SQL(", ").join(map(sql.Identifier, _SAMPLED))
        if self._connection.info.server_version >= _CLEARS_STATISTICS:
            self._connection.execute(_SQL["clear_statistics"], {"tables": [*_SAMPLED]})
        self._connection.execute(sql.SQL("ANALYZE {}").format(names))

    def _look_at(self, upload_id: UUID) -> None:
        """Remove what the record and the files of an upload hold of the person.

        The workbooks are replaced after all else: only they say which rows are the person's, and
        an attempt that is cut off leaves them to the next one. No transaction is open while files
        are fetched and unpacked. Nobody else writes the reports again meanwhile.
        """
        upload = self._connection.execute(_SQL["stored_of"], {"id": upload_id}).fetchone()
        self._connection.commit()
        if upload is None:
            return
        self._remove_lost(upload)
        source = upload["source_key"]
        is_in_source = source is not None and self._is_in_source(source, upload["file_kind"])
        with tempfile.TemporaryDirectory(prefix="rollbook-") as name:
            rewritten = self._rewritten(upload, Path(name))
            self._forget_rows(upload, rewritten)
            if is_in_source and self._forget_source(upload):
                self._store.delete(source)
            may_be_in_tables = bool(rewritten) or self._is_report_gone
            if may_be_in_tables and upload["report_tables_key"] is not None:
                # The report stays as it is when the voter roll has answered.
                self._store.delete(upload["report_tables_key"])
                self._count("report_tables_removed", 1)
            self._connection.commit()
            self._replace(upload, rewritten)

    def _remove_lost(self, upload: Row) -> None:
        """Remove what attempts have written that aren't the upload's result.

        Retention would find it after a day: the report of an attempt that was cut off, or that of a
        failed one after the next.
        """
        attempts = range(1, upload["ended"] + 1)
        results = {None, files.report_key(upload["id"], 1)}
        if (
            upload["status"] == "completed"
            and len(attempts) == 1
            and upload["report_key"] in results
        ):
            return  # as nearly all are
        names = ("report_key", "refused_key", "report_tables_key")
        lost = _written_keys(upload["id"], attempts) - {upload[name] for name in names}
        stored = self._store.keys(upload["id"]) if lost else []
        for key in lost.intersection(stored):
            self._store.delete(key)
            self._count("lost_files_removed", 1)

    def _replace(self, upload: Row, rewritten: dict[str, tuple[Path, set[int]]]) -> None:
        """Replace workbooks; one that the record no longer names is removed."""
        found = self._connection.execute(_SQL["named_workbooks"], upload).fetchone()
        named = set(found.values()) if found else set()
        for key, (workbook, _) in rewritten.items():
            if key in named:
                self._store.put(key, workbook)
            else:
                self._store.delete(key)
        self._connection.commit()

    def _rewritten(self, upload: Row, folder: Path) -> dict[str, tuple[Path, set[int]]]:
        """The upload's workbooks that hold the person, by key: without, and the rows' numbers."""
        rewritten = {}
        self._is_report_gone = upload["report_key"] is None
        for name, kind in (("report_key", "reports"), ("refused_key", "refused_rows")):
            key = upload[name]
            if key is None:
                continue
            source, target = folder / "source.xlsx", folder / f"{kind}.xlsx"
            try:
                self._store.fetch(key, source)
            except SourceGoneError:
                self._is_report_gone = True
                continue
            found = rewrite(source, target, self._person)
            if found is not None:
                rewritten[key] = (target, found)
                self._count(f"{kind}_rewritten", 1)
        return rewritten

    def _forget_rows(self, upload: Row, rewritten: dict[str, tuple[Path, set[int]]]) -> None:
        own = {
            "upload_id": upload["id"],
            "rows": sorted({row for _, rows in rewritten.values() for row in rows}),
            # A passport number is short enough to be in other people's cells.
            "id_number": None if self._person.has_passport else self._person.id_number,
            "is_unknown": self._is_report_gone,
        }
        self._count("rows", self._connection.execute(_SQL["blank_rows"], own).rowcount)
        self._count("row_cells", self._connection.execute(_SQL["remove_cells"], own).rowcount)
        if self._person.is_named_in(upload["file_name"]):
            self._connection.execute(_SQL["forget_file_name"], {"id": upload["id"]})
            self._count("file_names", 1)

    def _forget_source(self, upload: Row) -> bool:
        """Whether the sent file is no longer the upload's, so that it can be removed."""
        is_forgotten = self._connection.execute(_SQL["forget_source"], upload).rowcount > 0
        # One that waits stays: its row about the person is refused when it is processed.
        self._count("files_removed" if is_forgotten else "files_waiting", 1)
        return is_forgotten

    def _is_in_source(self, key: str, kind: str) -> bool:
        with tempfile.TemporaryDirectory(prefix="rollbook-") as name:
            path = Path(name) / f"source.{kind}"
            try:
                self._store.fetch(key, path)
            except SourceGoneError:
                return False
            return is_in_file(path, self._person)

    def _count(self, name: str | None, number: int) -> None:
        if name is not None and number:
            self._counts[name] = self._counts.get(name, 0) + number

    def _note(self) -> None:
        """Note how far it is, and commit."""
        values = {
            "id": self._asked["id"],
            "looked_to": self._looked_to,
            "counts": Jsonb(self._counts),
        }
        self._connection.execute(_SQL["note_looked"], values)
        self._connection.commit()


def _written_keys(upload_id: UUID, attempts: range) -> set[str]:
    """The keys of all that attempts of these numbers may have written."""
    kinds = (
        files.report_key, files.verified_report_key, files.report_tables_key, files.refused_key,
    )  # fmt: skip
    return {key_of(upload_id, attempt) for attempt in attempts for key_of in kinds}


def rewrite(source: Path, target: Path, person: Person) -> set[int] | None:
    """Write a workbook that Rollbook wrote without a person's rows, which become empty.

    Its title has the name of the sent file. One with the person's names goes, too.

    Returns:
        The rows of the sent file that were left out, as the first column names them; None where the
        workbook doesn't hold the person, and nothing was written.
    """
    with zipfile.ZipFile(source) as book:
        sheets = [part for part in book.infolist() if _SHEET.fullmatch(part.filename)]
        found = [_of_person(book, part, person) for part in sheets]
        is_in_title = _is_in_title(book, person)
        if not is_in_title and all(rows is None for rows in found):
            return None
        numbers: set[bytes] = set().union(*(rows for rows in found if rows is not None))
        numbered = [part.filename for part in sheets if _is_numbered(book, part)]

        def left_out(row: bytes, part: ZipInfo) -> bool:
            is_named = part.filename in numbered and bool(numbers & set(_FIRST.findall(row)[:1]))
            return is_named or person.is_in(_text(row))

        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as written:
            for part in book.infolist():
                with written.open(part.filename, "w", force_zip64=True) as out:
                    if part.filename == _PROPERTIES and is_in_title:
                        out.write(_TITLE.sub(b"", book.read(part)))
                        continue
                    if part not in sheets:
                        shutil.copyfileobj(book.open(part), out)
                        continue
                    for piece in _pieces(book, part):
                        kept = functools.partial(_without, part=part, left_out=left_out)
                        out.write(_ROW.sub(kept, piece))
    return {int(number) for number in numbers}


def _without(
    found: re.Match[bytes], *, part: ZipInfo, left_out: Callable[[bytes, ZipInfo], bool]
) -> bytes:
    return b"" if left_out(found[0], part) else found[0]


def _of_person(book: zipfile.ZipFile, part: ZipInfo, person: Person) -> set[bytes] | None:
    """The numbers of a sheet's rows that are about a person; None where none is.

    In a sheet whose first column isn't ours, rows have no numbers.
    """
    is_numbered = _is_numbered(book, part)
    rows = [row for row in _rows(book, part) if person.is_in(_text(row))]
    if not rows:
        return None
    return {number for row in rows for number in _FIRST.findall(row)[:1] if is_numbered}


def _is_in_title(book: zipfile.ZipFile, person: Person) -> bool:
    found = _TITLE.search(book.read(_PROPERTIES))
    return found is not None and person.is_named_in(html.unescape(found[1].decode()))


def _is_numbered(book: zipfile.ZipFile, part: ZipInfo) -> bool:
    """Whether the sheet's first column has the rows of the sent file, as its header says."""
    return _row_header().search(next(_rows(book, part), b"")) is not None


@functools.cache
def _row_header() -> re.Pattern[bytes]:
    """The header of row numbers in the first cell: in any language that a report may be in."""
    names = sorted(languages.everywhere("report.column.row"))
    said = "|".join(re.escape(html.escape(name, quote=False)) for name in names)
    return re.compile(rf'<c r="A1"[^>]*><is><t[^>]*>(?:{said})</t>'.encode())


def is_in_file(path: Path, person: Person) -> bool:
    """Whether a file that an office sent holds a person, in any kind of file.

    It holds the ID number; or both names with a phone number or the e-mail address, as a row does
    whose ID number has a typing error.
    """
    traces = Traces(person)
    for piece in _contents(path):
        traces.look_at(piece)
        if traces.is_certain:
            return True
    return False


def _contents(path: Path) -> Iterator[bytes]:
    """What a file holds, piece by piece; each part of a workbook unpacked."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as book:
            for part in book.infolist():
                with book.open(part) as content:
                    yield from _overlapping(_chunks(content))
        return
    with path.open("rb") as file:
        yield from _overlapping(_chunks(file))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _overlapping(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Each piece with the end of the one before, so that no number is cut."""
    before = b""
    for piece in pieces:
        yield before + piece
        before = piece[-200:]


def _rows(book: zipfile.ZipFile, part: ZipInfo) -> Iterator[bytes]:
    for piece in _pieces(book, part):
        yield from _ROW.findall(piece)


def _pieces(book: zipfile.ZipFile, part: ZipInfo) -> Iterator[bytes]:
    """The content of a part in pieces of which none ends within a row."""
    rest = b""
    with book.open(part) as content:
        while chunk := content.read(_CHUNK):
            rest += chunk
            whole, end, tail = rest.rpartition(_ROW_END)
            if end:
                yield whole + end
                rest = tail
    if rest:
        yield rest


def _text(row: bytes) -> str:
    """The texts of a row's cells, with spaces between them."""
    return html.unescape(_TAG.sub(" ", row.decode("utf-8", "replace")))
