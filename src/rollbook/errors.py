"""The one tree of Rollbook's errors.

Each class has a stable ``code``, the HTTP ``status`` it answers with, and a short ``title``; the
message is the sentence for the person who will read it: what happened, what was kept and what to
do next. A message never holds a member's name, because messages are logged, stored in Redis and
sent to clients; of what it quotes of a file, such as the name of a sheet or a header, ID numbers
are masked and control characters are left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rollbook.masking import masked, visible


class RollbookError(Exception):
    """The root of the tree: raised as one of its children only."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(masked(visible(message)))
        #: Extra members of the problem answer (RFC 9457, section 3.2), such as ``errors``.
        self.members = members

    @property
    def message(self) -> str:
        """The sentence for the person."""
        return str(self)


class ConfigurationError(RollbookError):
    """A setting is missing, contradicts another, or can't be used on this machine."""

    code = "configuration"
    title = "The settings don't fit"


class EngineError(RollbookError):
    """An embedded PostgreSQL or Valkey couldn't be started or stopped."""

    code = "engine"
    title = "A database engine did not start"


class DataFolderInUseError(EngineError):
    """Another process owns the data folder."""

    code = "data_folder_in_use"
    title = "The data folder is in use"


class ServiceUnavailableError(RollbookError):
    """PostgreSQL, Redis or the file store doesn't answer right now."""

    code = "service_unavailable"
    status = 503
    title = "A part of the service is not reachable"


class FileNotScannedError(ServiceUnavailableError):
    """The virus scanner is there, and couldn't look at this file."""

    code = "file_not_scanned"
    title = "The file could not be checked for viruses"


# --- what a client of the API did -----------------------------------------------------------


class NotAuthenticatedError(RollbookError):
    """No token, or one that is wrong, expired or of a disabled user."""

    code = "not_authenticated"
    status = 401
    title = "Please sign in"


class NotAllowedError(RollbookError):
    """The user's role may not use this function."""

    code = "not_allowed"
    status = 403
    title = "Not allowed"


class NotFoundError(RollbookError):
    """The thing doesn't exist, or isn't this user's: both answer alike."""

    code = "not_found"
    status = 404
    title = "Not found"


class ConflictError(RollbookError):
    """The request contradicts the present state."""

    code = "conflict"
    status = 409
    title = "Not possible in this state"


class IdempotencyConflictError(ConflictError):
    """An Idempotency-Key came again with another file."""

    code = "idempotency_conflict"
    title = "This Idempotency-Key belongs to another file"


class DuplicateUploadError(ConflictError):
    """The same file content was sent within the window that counts as a repeat."""

    code = "duplicate_upload"
    title = "This file was sent before"


class InvalidRequestError(RollbookError):
    """A field of the request is missing or wrong."""

    code = "invalid_request"
    status = 422
    title = "The request can't be understood"


class MissingFileError(InvalidRequestError):
    """The upload has no part named ``file``."""

    code = "missing_file"
    title = "No file was sent"


class EmptyFileError(InvalidRequestError):
    """The file has no bytes."""

    code = "empty_file"
    title = "The file is empty"


class FileTooSmallError(InvalidRequestError):
    """A file in the watched folder is smaller than ROLLBOOK_WATCH_MIN_BYTES."""

    code = "file_too_small"
    title = "The file is too small"


class FileWaitsError(ConflictError):
    """A file in the watched folder can't be taken now, and waits until it can."""

    code = "file_waits"
    title = "The file waits"


class FileTooLargeError(RollbookError):
    """The body is over the limit of ROLLBOOK_MAX_UPLOAD_MB."""

    code = "file_too_large"
    status = 413
    title = "The file is too large"


class UnsupportedFileError(RollbookError):
    """The name's ending or the content isn't one of the accepted kinds."""

    code = "unsupported_file"
    status = 415
    title = "This kind of file is not accepted"


class InfectedFileError(RollbookError):
    """The virus scanner found something in the file."""

    code = "infected_file"
    status = 422
    title = "The file is infected"


class TooManyRequestsError(RollbookError):
    """A user or an office is over a limit; ``wait_s`` says for how long (``Retry-After``)."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"

    def __init__(self, message: str, *, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class TooManySignInsError(TooManyRequestsError):
    """Sign-ins of this account or from this address have failed too often."""

    code = "too_many_sign_ins"
    title = "Too many sign-ins have failed"


class TooManyUploadsError(TooManyRequestsError):
    """As many uploads of a user or an office wait as may."""

    code = "too_many_uploads"
    title = "Too many uploads are waiting"


# --- what a file turned out to be; an attempt that meets one of these isn't repeated --------


class FileProblemError(RollbookError):
    """The file can't be processed however often it is tried: the person must change it."""

    code = "file_problem"
    status = 422
    title = "The file can't be processed"


class UnreadableFileError(FileProblemError):
    """The parser couldn't read the file: damaged, encrypted or not what its name says."""

    code = "unreadable_file"
    title = "The file can't be read"


class NoIdColumnError(FileProblemError):
    """No sheet has a column that holds ID numbers."""

    code = "no_id_column"
    title = "No column with ID numbers was found"


class MissingColumnsError(FileProblemError):
    """The sheet has an ID column, but not the other columns that every member needs."""

    code = "missing_columns"
    title = "Columns are missing"


class SecondTableError(FileProblemError):
    """Further below in the file other headers follow, so the rows there are another table."""

    code = "second_table"
    title = "The file holds two tables"


class NoRowsError(FileProblemError):
    """The sheet has headers and nothing below them."""

    code = "no_rows"
    title = "The file has no rows"


class NoSuchSheetError(FileProblemError):
    """The workbook has no sheet of the name that the sender gave."""

    code = "no_such_sheet"
    title = "The workbook has no such sheet"


class NoSuchHeaderError(FileProblemError):
    """The sender's mapping names a header that the table doesn't have."""

    code = "no_such_header"
    title = "The file has no such header"


class ShortenedNumbersError(FileProblemError):
    """The spreadsheet program shortened most of the ID numbers."""

    code = "id_numbers_shortened"
    title = "The ID numbers were shortened"


class RowsRefusedError(FileProblemError):
    """Rows were refused, and the sender asked for all rows or none."""

    code = "rows_refused"
    title = "Rows were refused, so nothing was merged"


class SourceGoneError(FileProblemError):
    """The stored file isn't there any more, so the upload can't be processed again."""

    code = "source_gone"
    title = "The stored file is gone"


# --- what happens to an attempt ---------------------------------------------------------------


class AttemptError(RollbookError):
    """An attempt ended without a result; another attempt may succeed."""

    code = "attempt_failed"
    title = "The attempt did not finish"


class FencedError(AttemptError):
    """The upload belongs to a later attempt, or was cancelled: nothing may be written."""

    code = "fenced"
    title = "Another attempt has taken over"


class VoterRollPendingError(AttemptError):
    """The upload asked for verification before the merge, and answers are still to come."""

    code = "voter_roll_pending"
    title = "The voter roll is still being asked"


class TimedOutError(AttemptError):
    """The attempt ran longer than ROLLBOOK_JOB_TIMEOUT_S and was stopped."""

    code = "timed_out"
    title = "The attempt took too long"


class OutOfMemoryError(AttemptError):
    """The attempt's process passed ROLLBOOK_CHILD_MEMORY_MB and was stopped."""

    code = "out_of_memory"
    title = "The file needs more memory than is allowed"


class ChildDiedError(AttemptError):
    """The attempt's process ended without an answer."""

    code = "child_died"
    title = "The process that worked on the file died"


# --- notifications ----------------------------------------------------------------------------


class NotificationError(RollbookError):
    """A mail server or a webhook didn't take a notification; it is sent again later."""

    code = "notification_failed"
    status = 502
    title = "A notification could not be delivered"

    def __init__(self, message: str, *, wait_s: float = 0) -> None:
        super().__init__(message)
        #: Seconds for which the receiver asks to be left alone.
        self.wait_s = wait_s


class AddressRefusedError(NotificationError):
    """The webhook's name leads to an address to which we send nothing."""

    code = "webhook_address_refused"
    title = "The webhook's address is not allowed"


class NotificationRefusedError(NotificationError):
    """The receiver wants no such notification: sending it again would not help."""

    code = "notification_refused"
    title = "The receiver refuses the notification"


# --- the voter roll ---------------------------------------------------------------------------


class VoterRollError(RollbookError):
    """Asking the voter roll brought no answer: whoever was asked about is still pending."""

    code = "voter_roll"
    status = 502
    title = "The voter roll gave no answer"


class BudgetSpentError(VoterRollError):
    """No request may be made now; ``wait_s`` says for how long."""

    code = "rate_limit_exceeded"
    status = 429
    title = "The voter roll's budget is spent"

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class NoAnswerError(VoterRollError):
    """The roll failed on this question: an error of its own, a time-out, or garbage."""

    code = "voter_roll_failed"


class RollDownError(VoterRollError):
    """The roll can't be reached, or refuses our account: no question would fare better."""

    code = "voter_roll_down"
    title = "The voter roll is down"


class QuestionRefusedError(VoterRollError):
    """The roll refuses this very question; asking it again would not help."""

    code = "voter_roll_refused"


def title_of(code: str) -> str:
    """The title of the error with this code, where nothing more of it was kept."""
    kinds: list[type[RollbookError]] = [RollbookError]
    for kind in kinds:
        if kind.code == code:
            return kind.title
        kinds.extend(kind.__subclasses__())
    return RollbookError.title
