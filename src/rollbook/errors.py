"""The one tree of Rollbook's errors.

Each class has a stable ``code``, the HTTP ``status`` it answers with, and a short title, which is
``error.CODE`` in the catalogues of ``rollbook.languages``. The message is the sentence for the
person who reads it: what happened, what was stored and what to do next. A message never holds a
member's name, because messages are logged, stored in Redis and sent to clients; of what it quotes
of a file, such as the name of a sheet or a header, ID numbers are masked and control characters are
left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rollbook.languages import has, phrase
from rollbook.masking import masked, visible


class RollbookError(Exception):
    """The root of the tree; only its subclasses are raised."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init_subclass__(cls, *, code: str | None = None, status: int | None = None) -> None:
        """Set the class's attributes; those not given are inherited from its base."""
        super().__init_subclass__()
        cls.code = code or cls.code
        cls.status = status or cls.status

    def __init__(self, message: str, *, wait_s: float = 0, **members: Any) -> None:
        super().__init__(masked(visible(message)))
        #: Seconds until another try makes sense; 0 where that isn't known.
        self.wait_s = wait_s
        #: Extra members of the problem answer (RFC 9457, section 3.2), such as ``errors``.
        self.members = members

    @property
    def title(self) -> str:
        """The short title, in the spoken language."""
        return phrase(f"error.{self.code}")

    @property
    def message(self) -> str:
        """The sentence for the person."""
        return str(self)


class ConfigurationError(RollbookError, code="configuration"):
    """A setting is missing, contradicts another, or can't be used on this machine."""


class EngineError(RollbookError, code="engine"):
    """An embedded PostgreSQL or Valkey couldn't be started or stopped."""


class DataFolderInUseError(EngineError, code="data_folder_in_use"):
    """Another process owns the data folder."""


class ServiceUnavailableError(RollbookError, code="service_unavailable", status=503):
    """PostgreSQL, Redis or the file store doesn't answer right now."""


class BusyError(ServiceUnavailableError, code="busy"):
    """Another transaction has locked the rows to be changed."""


class NoRoomError(ServiceUnavailableError, code="no_room"):
    """A disk is full: the store's, PostgreSQL's or the worker's scratch folder's."""


class NoResourcesError(ServiceUnavailableError, code="no_resources"):
    """A process gets no more open files, threads or processes from the operating system."""


class ScratchGoneError(ServiceUnavailableError, code="scratch_gone"):
    """The folder in which a worker processes files was removed, or takes no files."""


class WrongStoreError(ServiceUnavailableError, code="wrong_store"):
    """The file store that this process sees is not the installation's."""


class ClockDiffersError(ServiceUnavailableError, code="clock_differs"):
    """This machine's clock differs from PostgreSQL's."""


class ServerLimitError(RollbookError, code="server_limit", status=503):
    """PostgreSQL ended a statement because of one of its limits."""


class FileNotScannedError(ServiceUnavailableError, code="file_not_scanned"):
    """The virus scanner answers, but couldn't scan this file."""


# --- what a client of the API did -----------------------------------------------------------


class NotAuthenticatedError(RollbookError, code="not_authenticated", status=401):
    """No token, or one that is wrong, expired or of a disabled user."""


class SecondFactorNeededError(NotAuthenticatedError, code="second_factor_needed"):
    """The password is right, and the account has a second factor besides."""


class NotAllowedError(RollbookError, code="not_allowed", status=403):
    """The user's role may not use this function."""


class SecondFactorRequiredError(NotAllowedError, code="second_factor_required"):
    """The role needs a second factor, and the account has none yet."""


class KeyScopeError(NotAllowedError, code="key_scope"):
    """No scope of the key opens the call."""


class NotFoundError(RollbookError, code="not_found", status=404):
    """The thing doesn't exist or isn't in this user's scope; both have the same answer."""


class ConflictError(RollbookError, code="conflict", status=409):
    """The request contradicts the present state."""


class IdempotencyConflictError(ConflictError, code="idempotency_conflict"):
    """An Idempotency-Key came again with another file."""


class DuplicateUploadError(ConflictError, code="duplicate_upload"):
    """The same file content was sent within the window that counts as a repeat."""


class InvalidRequestError(RollbookError, code="invalid_request", status=422):
    """A field of the request is missing or wrong."""


class AccountsAtFaultError(InvalidRequestError, code="accounts_at_fault"):
    """Rows of a list of accounts can't be invited, and the administrator asked for all or none."""


class ChecksumError(InvalidRequestError, code="checksum", status=460):
    """Bytes changed on their way; the status is that of the protocol tus."""


class BusyFileError(ConflictError, code="busy_file", status=423):
    """Another request joins the parts of the file."""


class MissingFileError(InvalidRequestError, code="missing_file"):
    """The upload has no part named ``file``."""


class EmptyFileError(InvalidRequestError, code="empty_file"):
    """The file has no bytes."""


class FileWaitsError(ConflictError, code="file_waits"):
    """A file in the watched folder can't be uploaded now and waits there."""


class FileTooLargeError(RollbookError, code="file_too_large", status=413):
    """The body is over the limit of ROLLBOOK_MAX_UPLOAD_MB."""


class UnsupportedFileError(RollbookError, code="unsupported_file", status=415):
    """The name's ending or the content isn't one of the accepted kinds."""


class InfectedFileError(RollbookError, code="infected_file", status=422):
    """The virus scanner found something in the file."""


class TooManyRequestsError(RollbookError, code="too_many_requests", status=429):
    """A user or an office is over a limit; ``wait_s`` says for how long (``Retry-After``)."""


class TooManySignInsError(TooManyRequestsError, code="too_many_sign_ins"):
    """Sign-ins of this account or from this address have failed too often."""


class TooManyUploadsError(TooManyRequestsError, code="too_many_uploads"):
    """A user or an office has reached the limit of waiting uploads."""


# --- what a file turned out to be; an attempt that meets one of these isn't repeated --------


class FileProblemError(RollbookError, code="file_problem", status=422):
    """The file can't be processed, and a retry can't help: the person must change it."""


class UnreadableFileError(FileProblemError, code="unreadable_file"):
    """The parser couldn't read the file: damaged, encrypted or not what its name says."""


class NoIdColumnError(FileProblemError, code="no_id_column"):
    """No sheet has a column that holds ID numbers."""


class MissingColumnsError(FileProblemError, code="missing_columns"):
    """The sheet has an ID column, but not the other columns that every member needs."""


class SecondTableError(FileProblemError, code="second_table"):
    """A second header row follows further down, or a second set of headers in the same row."""


class RowsAboveHeadersError(FileProblemError, code="rows_above_headers"):
    """Rows above the header row hold ID numbers, so members would be lost."""


class ShiftedColumnError(FileProblemError, code="column_shifted"):
    """ID numbers lie a row further down or up than the names, so each is beside another's name."""


class NoRowsError(FileProblemError, code="no_rows"):
    """The sheet has headers and nothing below them."""


class NoSuchSheetError(FileProblemError, code="no_such_sheet"):
    """The workbook has no sheet of the name that the sender gave."""


class NoSuchHeaderError(FileProblemError, code="no_such_header"):
    """The sender's mapping names a header that the table doesn't have."""


class ShortenedNumbersError(FileProblemError, code="id_numbers_shortened"):
    """The spreadsheet program shortened most of the ID numbers."""


class RowsRefusedError(FileProblemError, code="rows_refused"):
    """Rows were refused, and the sender asked for all rows or none."""


class TooManyRemovalsError(FileProblemError, code="too_many_removals"):
    """A list of members to remove has more rows than it may have."""


class TooManyAccountsError(FileProblemError, code="too_many_accounts"):
    """A list of accounts to invite has more rows than it may have."""


class ColumnRepeatedError(FileProblemError, code="column_repeated"):
    """Two columns of a list of accounts have headers of one field."""


class SourceGoneError(FileProblemError, code="source_gone"):
    """The stored file isn't there any more, so the upload can't be processed again."""


# --- what happens to an attempt ---------------------------------------------------------------


class AttemptError(RollbookError, code="attempt_failed"):
    """An attempt ended without a result; another attempt may succeed."""


class SourceDamagedError(AttemptError, code="source_damaged"):
    """The store gave other bytes than were received: cut off, damaged or replaced."""


class FencedError(AttemptError, code="fenced"):
    """The upload belongs to a later attempt, or was cancelled: nothing may be written."""


class VoterRollPendingError(AttemptError, code="voter_roll_pending"):
    """The upload asked for verification before the merge, and answers are pending."""


class TimedOutError(AttemptError, code="timed_out"):
    """The attempt ran longer than ROLLBOOK_JOB_TIMEOUT_S and was stopped."""


class OutOfMemoryError(AttemptError, code="out_of_memory"):
    """The attempt's process passed ROLLBOOK_CHILD_MEMORY_MB and was stopped."""


class ChildDiedError(AttemptError, code="child_died"):
    """The attempt's process ended without an answer."""


# --- notifications ----------------------------------------------------------------------------


class NotificationError(RollbookError, code="notification_failed", status=502):
    """A mail server or a webhook didn't take a notification; it is sent again later."""


class AddressRefusedError(NotificationError, code="webhook_address_refused"):
    """The webhook's name resolves to an address that isn't allowed."""


class NotificationRefusedError(NotificationError, code="notification_refused"):
    """The receiver refuses the notification, and a retry would not help."""


# --- the voter roll ---------------------------------------------------------------------------


class VoterRollError(RollbookError, code="voter_roll", status=502):
    """The voter roll gave no answer; the person's verification is still pending."""


class BudgetSpentError(VoterRollError, code="rate_limit_exceeded", status=429):
    """No request may be made now; ``wait_s`` says for how long."""


class NoAnswerError(VoterRollError, code="voter_roll_failed"):
    """The roll failed on this question: an error of its own, a time-out, or garbage."""


class RollDownError(VoterRollError, code="voter_roll_down"):
    """The roll can't be reached or refuses the account, so no other question would succeed."""


class QuestionRefusedError(VoterRollError, code="voter_roll_refused"):
    """The roll refuses this question, and a retry would not help."""


def title_of(code: str) -> str:
    """The title of the error with this code, in the spoken language, where only it is stored."""
    key = f"error.{code}"
    return phrase(key if has(key) else "error.internal")
