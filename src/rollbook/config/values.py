"""What the values of settings have in common."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field

from rollbook import languages

Positive = Annotated[int, Field(gt=0)]
#: The roles, as ``model.Role`` names them.
ROLES = frozenset({"super_admin", "national_admin", "province_admin", "municipality_admin"})


def known_identities(text: str) -> str:
    """The kinds of identities, comma-separated; ``za_id`` is always one.

    Raises:
        ValueError: it names another kind.
    """
    kinds = {kind.strip() for kind in text.split(",")}
    if not {"za_id"} <= kinds <= {"za_id", "passport"}:
        raise ValueError("the kinds are za_id, which is always one, and passport: za_id,passport")
    return ",".join(sorted(kinds, reverse=True))


def known_roles(text: str) -> str:
    """Names of roles, comma-separated.

    Raises:
        ValueError: there is no such role.
    """
    for name in split(text):
        if name not in ROLES:
            raise ValueError(f"{name!r} is no role; the roles are {', '.join(sorted(ROLES))}")
    return text


def split(text: str) -> list[str]:
    """The parts of a comma-separated text."""
    return [name.strip() for name in text.split(",") if name.strip()]


def known_zone(name: str) -> str:
    """The name of a time zone of the IANA database.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return ZoneInfo(name).key
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"there is no time zone {name!r}; give its name in the IANA database, such as "
            "Africa/Johannesburg"
        ) from error


def is_safe_url(url: str) -> bool:
    """Is it encrypted on its way, or does it not leave this machine?"""
    parts = urlsplit(url)
    is_here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
    return bool(parts.hostname) and not parts.username and (parts.scheme == "https" or is_here)


def known_language(tag: str) -> str:
    """The tag of a language that has a catalogue.

    Raises:
        ValueError: there is none.
    """
    if tag not in languages.available():
        raise ValueError(f"known languages are {', '.join(languages.available())}")
    return tag
