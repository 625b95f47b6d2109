"""`rollbook login` and `rollbook logout`."""

from __future__ import annotations

import datetime as dt
import json
import stat
from typing import TYPE_CHECKING, Any

import httpx
import pyotp

from rollbook import clock
from rollbook.accounts import second_factor, users
from rollbook.accounts.users import issue_token
from rollbook.cli import credentials
from rollbook.cli.failures import ExitCode
from rollbook.errors import ConfigurationError, ServiceUnavailableError
from tests.conftest import PASSWORD
from tests.integration.cli.conftest import EMAIL
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System
    from tests.integration.cli.conftest import Terminal

NOBODY = "http://127.0.0.1:1"


def later(patch: pytest.MonkeyPatch, **by: float) -> None:
    """Move the time of the server and of the terminal."""
    true_now = clock.now
    patch.setattr(clock, "now", lambda: true_now() + dt.timedelta(**by))


async def who(server: str, token: str) -> int:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return (await client.get(f"{server}/api/v1/auth/me", headers=headers)).status_code


async def test_a_sign_in_is_kept_for_its_user_only_and_ends_at_the_server_too(
    terminal: Terminal,
) -> None:
    login = ("login", "--server", terminal.server)
    done = await terminal(*login, typed=f"{EMAIL}\n{PASSWORD}\n")
    assert done.code == 0, done.stderr
    file = credentials.path()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    token = credentials.read().servers[terminal.server].token
    assert (await terminal("history", "--json")).code == 0
    done = await terminal("logout")
    assert (done.code, done.stdout) == (0, f"Signed out of {terminal.server}.\n")
    assert token not in file.read_text()
    assert await who(terminal.server, token) == 401
    assert (await terminal("history", "--server", terminal.server)).code == ExitCode.NOT_ALLOWED


async def test_a_wrong_password_is_a_sentence_and_keeps_nothing(terminal: Terminal) -> None:
    done = await terminal("login", "--server", terminal.server, typed=f"{EMAIL}\nwrong\n")
    assert done.code == ExitCode.NOT_ALLOWED
    assert "The e-mail address or the password is wrong" in done.stderr
    assert not credentials.path().exists()


async def test_an_ended_session_says_how_to_sign_in_again(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.sign_in()
    later(monkeypatch, hours=13)
    done = await terminal("queue", "stats")
    assert done.code == ExitCode.NOT_ALLOWED
    assert f"Sign in again: `rollbook login --server {terminal.server}`." in done.stderr
    assert done.stdout == ""


async def test_a_session_in_use_is_renewed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.sign_in()
    first = credentials.read().servers[terminal.server]
    later(monkeypatch, minutes=20)
    assert (await terminal("queue", "stats")).code == 0
    second = credentials.read().servers[terminal.server]
    assert second.token != first.token
    assert second.email == EMAIL
    later(monkeypatch, minutes=20)  # the first token has ended
    assert (await terminal("queue", "stats")).code == 0


async def test_an_account_with_a_second_factor_is_asked_for_a_code(
    terminal: Terminal, system: System, settings: Settings
) -> None:
    user = await users.acting(system.pool, EMAIL)
    begun = await second_factor.begin(system.pool, user)
    code = pyotp.TOTP(begun.secret).at(clock.now())
    codes = (await second_factor.confirm(system.pool, settings, user, code)).recovery_codes
    login = ("login", "--server", terminal.server)
    done = await terminal(*login, typed=f"{EMAIL}\n{PASSWORD}\n")
    assert done.code == ExitCode.WRONG
    assert "Code of your authenticator app" in done.stderr
    wrong = await terminal(*login, typed=f"{EMAIL}\n{PASSWORD}\nabcd\n")
    assert wrong.code == ExitCode.NOT_ALLOWED
    assert "The code is wrong" in wrong.stderr
    assert not credentials.path().exists()
    done = await terminal(*login, "--email", EMAIL, typed=f"{PASSWORD}\n{codes[0]}\n")
    assert done.code == 0, done.stderr
    assert (await terminal("history")).code == 0


async def test_a_token_that_can_t_be_renewed_is_used_as_long_as_it_is_good(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.sign_in()
    first = credentials.read().servers[terminal.server]

    async def away(*_: object) -> None:
        raise ServiceUnavailableError("Redis is away.")

    async def odd(*_: object) -> None:
        raise OSError("a fault of the server")

    later(monkeypatch, minutes=20)
    for fault in (away, odd):
        with monkeypatch.context() as patch:
            patch.setattr("rollbook.api.auth.opened", fault)
            done = await terminal("queue", "stats")
        assert done.code == 0
        assert "rollbook:" not in done.stderr  # no error of the command
        assert credentials.read().servers[terminal.server] == first
    # A renewed token that can't be kept is used all the same, and the user learns of it.
    with monkeypatch.context() as patch:
        patch.setattr("rollbook.cli.credentials._write", _unwritable)
        done = await terminal("queue", "stats")
    assert done.code == 0
    assert "can't be kept" in done.stderr
    assert (await terminal("queue", "stats")).code == 0
    assert credentials.read().servers[terminal.server].token != first.token


def _unwritable(*_: object) -> None:
    raise ConfigurationError("The sign-in can't be kept.")


async def test_a_token_of_the_environment_is_used_for_the_named_server_only(
    terminal: Terminal,
    settings: Settings,
    make_user: Callable[..., Awaitable[User]],
    tmp_path: Path,
) -> None:
    token = issue_token(settings, await make_user())
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    terminal.line.set(ROLLBOOK_TOKEN_FILE=str(file))
    assert (await terminal("history", "--server", terminal.server)).code == 0
    terminal.line.set(ROLLBOOK_TOKEN_FILE="", ROLLBOOK_TOKEN=token)
    done = await terminal("history")
    assert done.code == ExitCode.WRONG
    assert "ROLLBOOK_SERVER" in done.stderr
    terminal.line.set(ROLLBOOK_SERVER=terminal.server)
    assert (await terminal("history")).code == 0
    assert not credentials.path().exists()
    terminal.line.set(ROLLBOOK_TOKEN="rbk_no_such_key")
    done = await terminal("history")
    assert done.code == ExitCode.NOT_ALLOWED
    assert "doesn't accept the key or token" in done.stderr


async def test_a_key_is_read_from_standard_input_and_checked(
    terminal: Terminal, settings: Settings, make_user: Callable[..., Awaitable[User]]
) -> None:
    user = await make_user()
    token = issue_token(settings, user)
    login = ("login", "--key", "--server", terminal.server, "--json")
    done = await terminal(*login, typed=f"{token}\n")
    assert json.loads(done.stdout) == {
        "server": terminal.server, "email": user.email, "expires_at": None
    }  # fmt: skip
    assert (await terminal("history")).code == 0
    assert (await terminal(*login, typed="of another server\n")).code == ExitCode.WRONG
    assert (await terminal(*login, typed="another\n")).code == ExitCode.NOT_ALLOWED
    assert (await terminal("history")).code == 0  # the good one was kept
    done = await terminal("logout")
    assert "It is still valid" in done.stdout
    assert await who(terminal.server, token) == 200


async def test_signing_out_of_a_server_that_is_away_removes_the_sign_in_and_says_so(
    terminal: Terminal,
) -> None:
    found: Any = credentials.SignIn.of_session("token", EMAIL, expires_in=600)
    credentials.store(NOBODY, found)
    done = await terminal("logout")
    assert done.code == ExitCode.UNAVAILABLE
    assert "was removed from this machine" in done.stderr
    assert credentials.read() == credentials.SignIns()


async def test_a_server_that_is_away_is_a_sentence(terminal: Terminal) -> None:
    done = await terminal("login", "--server", NOBODY, typed=f"{EMAIL}\n{PASSWORD}\n")
    assert done.code == ExitCode.UNAVAILABLE
    assert f"{NOBODY} can't be reached" in done.stderr
    assert PASSWORD not in done.stderr
    assert not credentials.path().exists()
