"""The one tree of Rollbook's errors.

Each class has a stable ``code``, the HTTP ``status`` it answers with, and a short ``title``; the
message is the sentence for the person who reads it: what happened, what was stored and what to do
next. A message never holds a member's name, because messages are logged, stored in Redis and
sent to clients; of what it quotes of a file, such as the name of a sheet or a header, ID numbers
are masked and control characters are left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rollbook.masking import masked, visible


class RollbookError(Exception):
    """The root of the tree; only its subclasses are raised."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"

    def __init_subclass__(
        cls, *, code: str | None = None, status: int | None = None, title: str | None = None
    ) -> None:
        """Set the class's attributes; those not given are inherited from its base."""
        super().__init_subclass__()
        cls.code = code or cls.code
        cls.status = status or cls.status
        cls.title = title or cls.title

    def __init__(self, message: str, *, wait_s: float = 0, **members: Any) -> None:
        super().__init__(masked(visible(message)))
        #: Seconds until another try makes sense; 0 where that isn't known.
        self.wait_s = wait_s
        #: Extra members of the problem answer (RFC 9457, section 3.2), such as ``errors``.
        self.members = members

    @property
    def message(self) -> str:
        """The sentence for the person."""
        return str(self)


class ConfigurationError(RollbookError, code="configuration", title="The settings don't fit"):
    """A setting is missing, contradicts another, or can't be used on this machine."""


class EngineError(RollbookError, code="engine", title="A database engine did not start"):
    """An embedded PostgreSQL or Valkey couldn't be started or stopped."""


class DataFolderInUseError(
    EngineError, code="data_folder_in_use", title="The data folder is in use"
):
    """Another process owns the data folder."""


class ServiceUnavailableError(
    RollbookError,
    code="service_unavailable",
    status=503,
    title="A part of the service is not reachable",
):
    """PostgreSQL, Redis or the file store doesn't answer right now."""


class BusyError(ServiceUnavailableError, code="busy", title="Another change is in progress"):
    """Another transaction has locked the rows to be changed."""


class NoRoomError(ServiceUnavailableError, code="no_room", title="A disk is full"):
    """A disk is full: the store's, PostgreSQL's or the worker's scratch folder's."""


class NoResourcesError(
    ServiceUnavailableError, code="no_resources", title="The machine has reached a limit"
):
    """A process gets no more open files, threads or processes from the operating system."""


class ScratchGoneError(
    ServiceUnavailableError, code="scratch_gone", title="The scratch folder can't be used"
):
    """The folder in which a worker processes files was removed, or takes no files."""


class WrongStoreError(
    ServiceUnavailableError,
    code="wrong_store",
    title="This is not the installation's file store",
):
    """The file store that this process sees is not the installation's."""


class ClockDiffersError(ServiceUnavailableError, code="clock_differs", title="A clock is wrong"):
    """This machine's clock differs from PostgreSQL's."""


class ServerLimitError(
    RollbookError, code="server_limit", status=503, title="A limit of the database was reached"
):
    """PostgreSQL ended a statement because of one of its limits."""


class FileNotScannedError(
    ServiceUnavailableError,
    code="file_not_scanned",
    title="The file could not be checked for viruses",
):
    """The virus scanner answers, but couldn't scan this file."""


# --- what a client of the API did -----------------------------------------------------------


class NotAuthenticatedError(
    RollbookError, code="not_authenticated", status=401, title="Please sign in"
):
    """No token, or one that is wrong, expired or of a disabled user."""


class SecondFactorNeededError(
    NotAuthenticatedError, code="second_factor_needed", title="A code is needed"
):
    """The password is right, and the account has a second factor besides."""


class NotAllowedError(RollbookError, code="not_allowed", status=403, title="Not allowed"):
    """The user's role may not use this function."""


class SecondFactorRequiredError(
    NotAllowedError, code="second_factor_required", title="Set up a second factor"
):
    """The role needs a second factor, and the account has none yet."""


class KeyScopeError(NotAllowedError, code="key_scope", title="The key may not do this"):
    """No scope of the key opens the call."""


class NotFoundError(RollbookError, code="not_found", status=404, title="Not found"):
    """The thing doesn't exist or isn't in this user's scope; both have the same answer."""


class ConflictError(RollbookError, code="conflict", status=409, title="Not possible in this state"):
    """The request contradicts the present state."""


class IdempotencyConflictError(
    ConflictError, code="idempotency_conflict", title="This Idempotency-Key belongs to another file"
):
    """An Idempotency-Key came again with another file."""


class DuplicateUploadError(
    ConflictError, code="duplicate_upload", title="This file was sent before"
):
    """The same file content was sent within the window that counts as a repeat."""


class InvalidRequestError(
    RollbookError, code="invalid_request", status=422, title="The request can't be understood"
):
    """A field of the request is missing or wrong."""


class AccountsAtFaultError(
    InvalidRequestError, code="accounts_at_fault", title="Rows of the list are at fault"
):
    """Rows of a list of accounts can't be invited, and the administrator asked for all or none."""


class ChecksumError(
    InvalidRequestError, code="checksum", status=460, title="The checksum doesn't match"
):
    """Bytes changed on their way; the status is that of the protocol tus."""


class BusyFileError(ConflictError, code="busy_file", status=423, title="The file is finishing"):
    """Another request joins the parts of the file."""


class MissingFileError(InvalidRequestError, code="missing_file", title="No file was sent"):
    """The upload has no part named ``file``."""


class EmptyFileError(InvalidRequestError, code="empty_file", title="The file is empty"):
    """The file has no bytes."""


class FileWaitsError(ConflictError, code="file_waits", title="The file waits"):
    """A file in the watched folder can't be uploaded now and waits there."""


class FileTooLargeError(
    RollbookError, code="file_too_large", status=413, title="The file is too large"
):
    """The body is over the limit of ROLLBOOK_MAX_UPLOAD_MB."""


class UnsupportedFileError(
    RollbookError, code="unsupported_file", status=415, title="This kind of file is not accepted"
):
    """The name's ending or the content isn't one of the accepted kinds."""


class InfectedFileError(
    RollbookError, code="infected_file", status=422, title="The file is infected"
):
    """The virus scanner found something in the file."""


class TooManyRequestsError(
    RollbookError, code="too_many_requests", status=429, title="Too many requests"
):
    """A user or an office is over a limit; ``wait_s`` says for how long (``Retry-After``)."""


class TooManySignInsError(
    TooManyRequestsError, code="too_many_sign_ins", title="Too many sign-ins have failed"
):
    """Sign-ins of this account or from this address have failed too often."""


class TooManyUploadsError(
    TooManyRequestsError, code="too_many_uploads", title="Too many uploads are waiting"
):
    """A user or an office has reached the limit of waiting uploads."""


# --- what a file turned out to be; an attempt that meets one of these isn't repeated --------


class FileProblemError(
    RollbookError, code="file_problem", status=422, title="The file can't be processed"
):
    """The file can't be processed, and a retry can't help: the person must change it."""


class UnreadableFileError(FileProblemError, code="unreadable_file", title="The file can't be read"):
    """The parser couldn't read the file: damaged, encrypted or not what its name says."""


class NoIdColumnError(
    FileProblemError, code="no_id_column", title="No column with ID numbers was found"
):
    """No sheet has a column that holds ID numbers."""


class MissingColumnsError(FileProblemError, code="missing_columns", title="Columns are missing"):
    """The sheet has an ID column, but not the other columns that every member needs."""


class SecondTableError(FileProblemError, code="second_table", title="The file holds two tables"):
    """A second header row follows further down, or a second set of headers in the same row."""


class RowsAboveHeadersError(
    FileProblemError, code="rows_above_headers", title="The file has members above its headers"
):
    """Rows above the header row hold ID numbers, so members would be lost."""


class NoRowsError(FileProblemError, code="no_rows", title="The file has no rows"):
    """The sheet has headers and nothing below them."""


class NoSuchSheetError(
    FileProblemError, code="no_such_sheet", title="The workbook has no such sheet"
):
    """The workbook has no sheet of the name that the sender gave."""


class NoSuchHeaderError(
    FileProblemError, code="no_such_header", title="The file has no such header"
):
    """The sender's mapping names a header that the table doesn't have."""


class ShortenedNumbersError(
    FileProblemError, code="id_numbers_shortened", title="The ID numbers were shortened"
):
    """The spreadsheet program shortened most of the ID numbers."""


class RowsRefusedError(
    FileProblemError, code="rows_refused", title="Rows were refused, so nothing was merged"
):
    """Rows were refused, and the sender asked for all rows or none."""


class TooManyRemovalsError(
    FileProblemError, code="too_many_removals", title="The list of members to remove is too long"
):
    """A list of members to remove has more rows than it may have."""


class TooManyAccountsError(
    FileProblemError, code="too_many_accounts", title="The list of accounts is too long"
):
    """A list of accounts to invite has more rows than it may have."""


class ColumnRepeatedError(
    FileProblemError, code="column_repeated", title="Two columns mean the same"
):
    """Two columns of a list of accounts have headers of one field."""


class SourceGoneError(FileProblemError, code="source_gone", title="The stored file is gone"):
    """The stored file isn't there any more, so the upload can't be processed again."""


# --- what happens to an attempt ---------------------------------------------------------------


class AttemptError(RollbookError, code="attempt_failed", title="The attempt did not finish"):
    """An attempt ended without a result; another attempt may succeed."""


class SourceDamagedError(
    AttemptError, code="source_damaged", title="The stored file is not what was received"
):
    """The store gave other bytes than were received: cut off, damaged or replaced."""


class FencedError(AttemptError, code="fenced", title="Another attempt has taken over"):
    """The upload belongs to a later attempt, or was cancelled: nothing may be written."""


class VoterRollPendingError(
    AttemptError, code="voter_roll_pending", title="The voter roll is still being asked"
):
    """The upload asked for verification before the merge, and answers are pending."""


class TimedOutError(AttemptError, code="timed_out", title="The attempt took too long"):
    """The attempt ran longer than ROLLBOOK_JOB_TIMEOUT_S and was stopped."""


class OutOfMemoryError(
    AttemptError, code="out_of_memory", title="The file needs more memory than is allowed"
):
    """The attempt's process passed ROLLBOOK_CHILD_MEMORY_MB and was stopped."""


class ChildDiedError(
    AttemptError, code="child_died", title="The process that worked on the file died"
):
    """The attempt's process ended without an answer."""


# --- notifications ----------------------------------------------------------------------------


class NotificationError(
    RollbookError,
    code="notification_failed",
    status=502,
    title="A notification could not be delivered",
):
    """A mail server or a webhook didn't take a notification; it is sent again later."""


class AddressRefusedError(
    NotificationError, code="webhook_address_refused", title="The webhook's address is not allowed"
):
    """The webhook's name resolves to an address that isn't allowed."""


class NotificationRefusedError(
    NotificationError, code="notification_refused", title="The receiver refuses the notification"
):
    """The receiver refuses the notification, and a retry would not help."""


# --- the voter roll ---------------------------------------------------------------------------


class VoterRollError(
    RollbookError, code="voter_roll", status=502, title="The voter roll gave no answer"
):
    """The voter roll gave no answer; the person's verification is still pending."""


class BudgetSpentError(
    VoterRollError, code="rate_limit_exceeded", status=429, title="The voter roll's budget is spent"
):
    """No request may be made now; ``wait_s`` says for how long."""


class NoAnswerError(VoterRollError, code="voter_roll_failed"):
    """The roll failed on this question: an error of its own, a time-out, or garbage."""


class RollDownError(VoterRollError, code="voter_roll_down", title="The voter roll is down"):
    """The roll can't be reached or refuses the account, so no other question would succeed."""


class QuestionRefusedError(VoterRollError, code="voter_roll_refused"):
    """The roll refuses this question, and a retry would not help."""


def title_of(code: str) -> str:
    """The title of the error with this code, where only the code is stored."""
    kinds: list[type[RollbookError]] = [RollbookError]
    for kind in kinds:
        if kind.code == code:
            return kind.title
        kinds.extend(kind.__subclasses__())
    return RollbookError.title
