"""The errors of files that several readers and inspections refuse, in the spoken language."""

from __future__ import annotations

from rollbook.errors import UnreadableFileError
from rollbook.languages import phrase


def damaged() -> UnreadableFileError:
    """It is damaged, or isn't what its name says."""
    return UnreadableFileError(phrase("refusal.file.damaged"))


def locked() -> UnreadableFileError:
    """It has a password."""
    return UnreadableFileError(phrase("refusal.file.locked"))


def spread() -> UnreadableFileError:
    """Its cells lie too far apart."""
    return UnreadableFileError(phrase("refusal.file.spread"))


def document() -> UnreadableFileError:
    """It is an Office file of another kind."""
    return UnreadableFileError(phrase("refusal.file.document"))
