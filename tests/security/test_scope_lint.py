"""A lint: a query on an office's data uses ``in_scope``, or is listed here with the reason."""

from __future__ import annotations

import ast
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import pytest

import rollbook
from rollbook.backends.database import queries

if TYPE_CHECKING:
    from collections.abc import Iterator

    Nodes = list[tuple[str, ast.Call | ast.Constant]]

SOURCE = Path(rollbook.__file__).parent
#: What belongs to an office, or says something of its members.
NAME = (
    r"(?:uploads|members|upload_rows|verifications|member_changes|undo_kept|column_mappings"
    r"|fixable_rows|row_fixes|live_fixes|value_aliases|upload_claims|member_index"
    r"|member_index_due|member_corrections|access_keys|webhooks)\b"
)
TABLE = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|COPY|USING|LOCK TABLE)\s+(?:ONLY\s+)?(?:public\.)?" + NAME,
    re.IGNORECASE,
)
#: What a module has in it that reads queries or has one on what belongs to an office.
SIGNS = re.compile(rf"queries\(|{NAME}", re.IGNORECASE)
#: Files of queries that no request runs directly: a service of the system runs them,
#: which works for all offices. The modules beside each are the only ones that may read the file.
SERVICES = {
    "longest_wait": ("the service that lets nobody wait for too long", {"uploads/longest_wait.py"}),
    "folder": (
        "the watcher, which asks for a claim by its own key",
        {"folder/intake.py", "folder/watcher.py"},
    ),
    "forecast": (
        "the queue played forward over all offices; a reader gets the start of an upload that "
        "`visible` or `history` has found",
        {"uploads/forecast.py"},
    ),
    "gauges": ("the metrics, which are counts over all offices", {"api/gauges.py"}),
    "member_access": (
        "the child that writes a person's file, which `member` has found in the asking scope",
        {"members/person_file.py"},
    ),
    "member_erase": (
        "erasing, for operators, of a member whom `by_index` has found; and its worker",
        {"members/erase.py", "members/erase_files.py"},
    ),
    "member_index": (
        "the round that indexes members after each merge, and acts on one member for that member",
        {"members/index.py"},
    ),
    "duplicates": (
        "the round that looks for duplicates after each merge; what a request reaches is found in "
        "its scope by `page`, `lock_pair` or `lock_join`",
        {"members/duplicates.py"},
    ),
    "members": (
        "the child that merges one upload; takes_from_nobody keeps to the upload's office",
        {
            "pipeline/match.py", "pipeline/merge.py", "pipeline/run.py", "pipeline/erased.py",
        },
    ),
    "notifications": (
        "the worker that notifies each uploader of the own upload",
        {"uploads/control.py", "notifications/outbox.py"},
    ),
    "reconciler": (
        "the reconciler of the queue", {"uploads/reconciler.py"},
    ),
    "retention": ("what is over goes, whosever it is; `reports` is for operators",
                  {"uploads/retention.py"}),
    "removal": (
        "the child that removes the members of one list, each within the upload's office",
        {"members/removal.py", "pipeline/removal.py", "pipeline/run.py"},
    ),
    "renewals": (
        "the child that merges one upload; it counts, and takes staged rows out",
        {"pipeline/renewals.py"},
    ),
    "store": (
        "the proof that a store is the installation's, which asks for keys and shows none",
        {"service/doctor.py", "service/store_proof.py", "worker/child.py"},
    ),
    "verifications": (
        "the child and the verification worker, by the upload that they hold; undoing, after its "
        "`lock_upload`",
        {
            "uploads/undo.py", "pipeline/verify.py", "pipeline/report_again.py",
            "voter_roll/record.py",
        },
    ),
    "voter_roll": (
        "the verification worker, which asks for each person once for all offices; and the worker "
        "of erasures, for a member whom `by_index` has found",
        {"members/erase_files.py", "voter_roll/budget.py", "voter_roll/record.py"},
    ),
}  # fmt: skip
#: In the other files: each by itself.
INTERNAL = {
    "live.records": "the feed reads an event's uploads once for all listeners, and gives each "
    "message to those alone whose scope includes it",
    # --- uploads: what follows on `visible` for the same id, within one function of a module
    "uploads.rows": "of an upload that `visible` has found",
    "uploads.rows_counted": "likewise",
    "uploads.changes_counted": "likewise",
    "uploads.problems": "of an upload that `visible` has found",
    "uploads.changes": "of an upload that `visible` has found",
    "uploads.ahead": "of an upload that `visible` has found; only a number comes back",
    "uploads.cancel": "of an upload that `visible` has found",
    "uploads.reopen": "of an upload that `visible` has found",
    "uploads.source_removed": "of an upload that was just cancelled",
    "member_files.found_members": "a part of `export` and `count_members`",
    "member_search.with_members": "a part of queries, to which `in_reach` is added",
    "member_search.found_first": "likewise",
    "member_search.is_frequent": "how a search reads; nothing of a member comes back",
    "member_profile.note_correction": "of a member whom `lock` has found",
    # --- uploads: what is the sender's own
    "uploads.record": "the sender's new upload, with the sender's place",
    "uploads.by_idempotency_key": "keys are each owner's own",
    "uploads.waiting": "counts the sender's own office",
    # --- uploads: workers and services, which are outside every scope
    "uploads.ended_of": "counts by job ids of the queue, for operators and the queue's own numbers",
    "uploads.by_id": "worker and reconciler",
    "uploads.by_id_and_owner": "the child, for the report",
    "uploads.claim": "worker",
    "uploads.beat": "worker, fenced by its attempt",
    "uploads.waits_for_members": "worker; `Wait.seen_by` shows the other upload to its scope only",
    "uploads.complete": "child, fenced by its attempt",
    "uploads.note_report": "child, fenced by its attempt",
    "uploads.fail": "worker, fenced by its attempt",
    "uploads.hand_back": "worker, fenced by its attempt",
    "uploads.postpone": "worker, fenced by its attempt",
    # --- mappings: the child keeps to the office that sent the file
    "mappings.remembered": "of the office whose upload the child holds",
    "mappings.change": "of a mapping that `lock` has found in the scope, in the same transaction",
    "mappings.remember": "of the office whose upload the child holds",
    # --- rows that can be fixed: of an upload that `visible` has found, or that the child holds
    **dict.fromkeys(
        (
            "fixes.page", "fixes.count", "fixes.facets", "fixes.fixed", "fixes.sent_before",
            "fixes.taken", "fixes.take", "fixes.claimed", "fixes.root",
        ),
        "of an upload that `visible` has found",
    ),
    **dict.fromkeys(
        ("fixes.by_upload", "fixes.cells_of", "fixes.wanted"),
        "the child of the API, for an upload that `visible` has found",
    ),
    "fixes.keep_cells": "the child, of the upload that it merges",
    "fixes.note_fixed": "the child, of the upload that it merges",
    "fixes.forget_cells": "the child, and retention",
    "fixes.remove_of": "retention",
    "aliases.of_office": "of the office whose upload the child holds",
    "aliases.keep": "of the office of an upload that `visible` has found",
    # --- checks: the sender's own, or by the system
    "file_checks.change": "the sender's own",
    "file_checks.unsent": "the sender's own",
    "file_checks.unused": "the service that removes what nobody sends",
    # --- days: the service that sums up the days of all offices; readers get sums by `by_day`
    "days.period": "only the first and the latest day come back",
    "days.by_status": "the metrics, which are no reader's",
    "days.due": "the service that sums up days",
    "days.sum_up": "the service that sums up days",
    # --- keys: by their hash, or the maker's own
    "keys.count": "the maker's own",
    "keys.add": "the maker's own, within the maker's place",
    "keys.by_hash": "the key itself says which",
    "keys.by_ids": "of keys whose connections are open",
    "keys.note_use": "of the key that is used",
    "keys.revoke": "of a key that `in_reach` has found",
    # --- webhooks: of the maker's own office, and the worker that delivers
    "webhooks.count": "of the maker's own office",
    "webhooks.add": "of the maker's own office",
    "webhooks.target": "the worker, for a notification that it has claimed",
    # --- undo: operators alone, and only after `lock_upload` has found the upload in their scope
    **dict.fromkeys(
        (
            "undo.lock_members", "undo.unrecorded", "undo.find_claims", "undo.withdraw_claim",
            "undo.decide", "undo.count", "undo.remove", "undo.restore",
            "undo.bring_back",
            "undo.find_stored", "undo.restore_stored",
            "undo.makers", "undo.find_records", "undo.find_held", "undo.find_successors",
            "undo.note_unwanted", "undo.note_unwanted_joins", "undo.replace_unwanted",
            "undo.hand_over",
            "undo.forget_changes", "undo.keep_list", "undo.note_written",
            "undo.mark", "undo.kept", "undo.kept_counted", "undo.kept_csv",
        ),
        "of an upload that `lock_upload` has found",
    ),
}  # fmt: skip


def _named_queries() -> Iterator[tuple[str, str]]:
    for file in files("rollbook").joinpath("sql").iterdir():
        noun, _, ending = file.name.rpartition(".")
        if ending == "sql":
            for name, text in queries(noun).items():
                yield f"{noun}.{name}", _without_comments(text)


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text)


def goes_around(query: str) -> bool:
    """Does a query reach what belongs to an office, and not by the scope function?"""
    return TABLE.search(query) is not None and "in_scope(" not in query


def test_no_query_goes_around_the_scope_function_but_those_with_a_reason() -> None:
    around = {
        name
        for name, query in _named_queries()
        if goes_around(query) and name.partition(".")[0] not in SERVICES
    }
    assert around == INTERNAL.keys()


def test_a_service_s_queries_are_read_by_that_service_alone(nodes: Nodes) -> None:
    readers: dict[str, set[str]] = {}
    for path, node in nodes:
        if isinstance(node, ast.Call):
            noun = ast.literal_eval(node.args[0])
            readers.setdefault(noun, set()).add(path)
    for noun, (_, allowed) in SERVICES.items():
        assert readers[noun] == allowed, noun
    # A route asks a noun's module, which takes the reader.
    in_routes = {
        noun
        for noun, paths in readers.items()
        if any(p.startswith("api/") for p in paths - {"api/gauges.py"})  # which is no route
    }
    assert in_routes <= {"workers"}


def test_no_query_on_what_belongs_to_an_office_is_written_in_code(nodes: Nodes) -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, node in nodes
        if isinstance(node, ast.Constant) and not _is_prose(str(node.value))
    ]
    assert found == []


def _is_prose(text: str) -> bool:
    """In a sentence the words of SQL are small; a query of ours has them in capitals."""
    return TABLE.search(text) is not None and re.search(TABLE.pattern, text) is None


@pytest.fixture(scope="module")
def nodes() -> Nodes:
    """What all modules read and write in SQL, with their paths: parsing takes a second.

    Nothing else is kept: the collector of garbage would go through all the trees, for two seconds.
    """
    return [
        (name, node)
        for path in sorted(SOURCE.rglob("*.py"))
        if not (name := path.relative_to(SOURCE).as_posix()).startswith("backends/migrations/")
        if SIGNS.search(source := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(source))
        if _reads(node) or _names_a_table(node)
    ]


def _reads(node: ast.AST) -> TypeGuard[ast.Call]:
    """Is it a call of ``queries``?"""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "queries"
    )


def _names_a_table(node: ast.AST) -> TypeGuard[ast.Constant]:
    """Is it a text with a query on what belongs to an office?"""
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and TABLE.search(node.value) is not None
    )


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM uploads WHERE id = %(id)s",
        "select 1 from\n  members",
        "UPDATE uploads SET status = 'failed'",
        "DELETE FROM upload_rows",
        "SELECT 1 FROM users JOIN public.uploads ON true -- in_scope(",
        "COPY members TO STDOUT",
    ],
)
def test_the_lint_finds_what_it_is_to_find(query: str) -> None:
    assert goes_around(_without_comments(query))
