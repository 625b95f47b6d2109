"""The sign-ins of this user: one per server, in a file that only the user may read."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rollbook import clock
from rollbook.cli.output import err
from rollbook.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class SignIn:
    """A token or key for one server."""

    token: str
    #: ``session``: by password, ends by itself. ``given``: a key or token that was typed in.
    kind: Literal["session", "given"]
    #: The account's address.
    email: str
    #: When the token was issued and when it ends, in ISO 8601; None where that isn't known.
    issued_at: str | None = None
    expires_at: str | None = None

    @classmethod
    def given(cls, text: str) -> SignIn:
        """The sign-in by a key or a token that a person gave.

        Raises:
            ConfigurationError: it can't be one.
        """
        token = text.strip()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise ConfigurationError(
                "What was given as a key or token can't be one: it has spaces or other characters "
                "that no key has. Copy it again, in one piece."
            )
        return cls(token, "given", "")

    @classmethod
    def of_session(cls, token: str, email: str, *, expires_in: float) -> SignIn:
        """The sign-in of a session whose token is good for so many seconds."""
        now = clock.now()
        until = now + dt.timedelta(seconds=expires_in)
        return cls(token, "session", email, now.isoformat(), until.isoformat())

    @property
    def is_due(self) -> bool:
        """Whether the token should be renewed: half of its time is over."""
        if self.issued_at is None or self.expires_at is None:
            return False
        issued, expires = map(dt.datetime.fromisoformat, (self.issued_at, self.expires_at))
        return clock.now() > issued + (expires - issued) / 2


@dataclass(frozen=True, slots=True)
class SignIns:
    """The content of the file."""

    #: The address of the server that was signed in to last.
    current: str | None = None
    #: By the address of the server.
    servers: dict[str, SignIn] = field(default_factory=dict)


def path() -> Path:
    """The file: ``rollbook/servers.json`` in the user's configuration folder (XDG)."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a relative path is invalid, and is ignored.
    folder = Path(home) if home.startswith("/") else Path.home() / ".config"
    return folder / "rollbook" / "servers.json"


def read() -> SignIns:
    """The sign-ins of this user; none where there is no file.

    Raises:
        ConfigurationError: the file can't be read or isn't ours.
    """
    file = path()
    try:
        content = file.read_text(encoding="utf-8")
        if file.stat().st_mode & 0o077:
            err.print(f"[yellow]Others could read {file}; only you can now.[/]", soft_wrap=True)
            file.chmod(0o600)
        found = json.loads(content)
        servers = {url: SignIn(**one) for url, one in found["servers"].items()}
        return SignIns(found["current"], servers)
    except FileNotFoundError:
        return SignIns()
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{file} isn't a file of sign-ins as this version of Rollbook writes it. Remove it, "
            "and sign in again."
        ) from None


def store(server: str, sign_in: SignIn, *, make_current: bool = True) -> None:
    """Keep a sign-in; an earlier one to the same server is replaced.

    Raises:
        ConfigurationError: the file can't be written.
    """
    with _locked():
        before = read()
        current = server if make_current else before.current
        _write(SignIns(current, {**before.servers, server: sign_in}))


def forget(server: str) -> None:
    """Remove the sign-in to a server, if there is one.

    Raises:
        ConfigurationError: the file can't be written.
    """
    if not path().exists():
        return
    with _locked():
        before = read()
        servers = {url: one for url, one in before.servers.items() if url != server}
        current = None if before.current == server else before.current
        _write(replace(before, current=current, servers=servers))


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """A lock, so that two commands at once don't lose each other's change."""
    lock = path().with_suffix(".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_written(error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # held for one write of a small file
        yield
    finally:
        os.close(handle)


def _write(content: SignIns) -> None:
    file = path()
    new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            json.dump(asdict(content), opened, indent=2)
        new.replace(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise _not_written(error) from None


def _not_written(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The sign-in can't be kept in {path()} ({error.strerror}). Set XDG_CONFIG_HOME to a "
        "folder that can be written, or give the key in ROLLBOOK_TOKEN."
    )
