"""The doctor's look at the file store: what it found, and what to do in the store's own words."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rollbook.backends.files import DISK_CALLS, FileStore
from rollbook.backends.store import folder_of
from rollbook.errors import ConfigurationError, NoRoomError, RollbookError, WrongStoreError
from rollbook.service.findings import Finding, checked

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.config import Settings

_PART, _CHECK = "file store", "write and read"
#: The most of what a store says.
_SAID_LENGTH = 300
#: What to do by what the store, or the library that asks it, says. The first that fits.
_REMEDIES = {
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|401 Unauthorized": (
        "The store doesn't know these keys. Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    ),
    r"169\.254\.169\.254": "No keys are set. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    r"AccessDenied|403 Forbidden": (
        "Allow these keys to list the bucket, and to read, write and remove its objects: "
        "docs/how-to/s3.md has the policy."
    ),
    r"NoSuchBucket": "Make the bucket, or correct its name in ROLLBOOK_STORE_URL.",
    r"AuthorizationHeaderMalformed|region": "Set AWS_REGION to the bucket's own region.",
    r"BadScheme": (
        "The address is http: use https, or set ROLLBOOK_STORE_ALLOW_HTTP=true in a network of "
        "your own."
    ),
    r"dns error": "No such host. Correct AWS_ENDPOINT_URL, or this machine's name server.",
    r"certificate": "This machine doesn't trust the store's certificate. Add who signed it to it.",
    r"Generic S3 error|Generic (?:GCS|MicrosoftAzure)": (
        "Is it started, is AWS_ENDPOINT_URL right, and may this machine connect to it?"
    ),
    r"Permission denied|os error (?:1|13)\b": (
        "Give the folder to the user that runs Rollbook (chown), on every machine."
    ),
    r"Read-only file system|os error 30\b": "Mount it so that it can be written.",
    r"without a base|is not the address": (
        "Write ROLLBOOK_STORE_URL as file:///srv/rollbook/store or s3://bucket/folder."
    ),
    r"doesn't answer within": "Is its share away? Mount it again where it hangs.",
    r"is not there": "Mount it; the folder of a new store is made by hand, once.",
}


async def store_findings(settings: Settings, installation: UUID | None) -> list[Finding]:
    """The findings about the file store. A small file is written, read and removed.

    ``installation`` is the id that the store must be marked with; None where that isn't known.
    """
    answer_s = settings.store_answer_s  # it may be on a share that hangs
    try:
        folder = folder_of(settings.store_address) if settings.is_default_store else None
        if folder is not None and (
            missing := await DISK_CALLS.call(answer_s, _not_made_yet, folder)
        ):
            return [missing]
        store = FileStore.of(settings)
        keeps_versions = await DISK_CALLS.call(answer_s, _write_and_read, store)
        found = [Finding(_PART, _CHECK, "ok", store.url)]
    except RollbookError as error:
        return [_failed(error)]
    if keeps_versions:
        remedy = (
            "Removed files stay there as old versions, also those of erased people. Suspend "
            "versioning, or let a lifecycle rule delete noncurrent versions."
        )
        found.append(Finding(_PART, "versions", "warning", "old ones are kept", remedy))
    if installation is not None:
        is_ours = await store.is_of(installation)
        found.append(
            checked(
                (
                    _PART,
                    "installation",
                    "this one" if is_ours else "another one, or an empty store",
                ),
                bad=not is_ours,
                remedy="Is it mounted, and is ROLLBOOK_STORE_URL the same on all machines?",
            )
        )
    return found


def _not_made_yet(folder: Path) -> Finding | None:
    """Whether the first process can make the folder of the default store; None where it's there."""
    if folder.exists():
        return None
    nearest = next(place for place in folder.parents if place.exists())
    may = os.access(nearest, os.W_OK | os.X_OK)
    return checked(
        (_PART, _CHECK, f"{folder} is made by the first process" if may else f"no {folder}"),
        bad=not may,
        remedy=f"This user may not write to {nearest}. Set ROLLBOOK_DATA_DIR to a folder of its "
        "own, or give it this one.",
    )


def _failed(error: RollbookError) -> Finding:
    """The finding about a store that doesn't take, give back or remove a file."""
    cause = str(error.__cause__ or "") or error.message
    if isinstance(error, WrongStoreError):  # its cause is only that nothing is there
        cause = f"{cause} {error.message}"
    if isinstance(error, NoRoomError):
        return Finding(_PART, _CHECK, "error", _said(cause), "Its disk is full. Make room on it.")
    remedy = next(
        (remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, cause)),
        "Is ROLLBOOK_STORE_URL right, is it mounted, and may this user write there?",
    )
    return Finding(_PART, _CHECK, "error", _said(cause), remedy)


def _said(cause: str) -> str:
    """The cause in one line: the library adds how it is made inside."""
    line = " ".join(cause.partition("\n\nDebug source")[0].split())
    inner = re.search(r'message: "([^"]+)"', cause)
    if inner and inner[1] not in line:
        line += f": {inner[1]}"
    return line[:_SAID_LENGTH]


def _write_and_read(store: FileStore) -> bool:
    """Whether the store keeps old versions of what is written."""
    # The second folder holds the installation's mark, and the file that tells the store's time.
    versions = [
        _write_and_read_in(store, f"{folder}/doctor-{secrets.token_hex(8)}")
        for folder in ("doctor", "installations")
    ]
    return any(versions)


def _write_and_read_in(store: FileStore, key: str) -> bool:
    content = secrets.token_bytes(1024)
    with tempfile.TemporaryDirectory(prefix="rollbook-doctor-") as folder:
        source, target = Path(folder) / "written", Path(folder) / "read"
        source.write_bytes(content)
        try:
            has_version = store.put(key, source)
            store.fetch(key, target)
        finally:
            store.discard(key)
        if target.read_bytes() != content:
            raise ConfigurationError("The file store gave back other bytes than were written.")
    return has_version
