"""Clients that others' generators make of the OpenAPI document compile, and run the tutorial.

The one by openapi-typescript has a target of its own, because npm takes a quarter of a minute.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rollbook import clock
from rollbook.api.app import create_app
from rollbook.config import Settings
from rollbook.model import Role, User
from tests.conftest import PASSWORD
from tests.files import csv_file, member, members
from tests.integration.worker.test_worker import working
from tests.listening import Site, quick
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

HERE = Path(__file__).parent
#: Not among our own tools: it wants an older Typer.
GENERATOR = "openapi-python-client==0.29.1"
with_npm = pytest.mark.skipif(
    "ROLLBOOK_CLIENTS" not in os.environ, reason="a client by openapi-typescript: make clients"
)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(create_app(Settings(_env_file=None)).openapi()), encoding="utf-8")
    return path


def run(*command: str | Path, cwd: Path, **environment: str) -> None:
    """Run a tool that must succeed."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, timeout=PATIENCE_S, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[0]}: {done.stdout}"


@pytest.fixture(scope="module")
def python_client(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package ``rollbook_client``."""
    folder = tmp_path_factory.mktemp("python")
    tools = Path(sys.executable).parent  # uv, and ruff, which the generator runs
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": ""}
    tool = [str(tools / "uv"), "tool", "run", "--from", GENERATOR, "openapi-python-client"]
    try:
        run(
            *tool, "generate", "--path", document, "--config", HERE / "openapi_client.yml",
            "--meta", "none", "--output-path", folder / "rollbook_client", "--fail-on-warning",
            cwd=folder, **environment,
        )  # fmt: skip
    except AssertionError:
        if subprocess.run([*tool, "--version"], timeout=PATIENCE_S, check=False).returncode:
            pytest.skip(f"{GENERATOR} can't be installed: a package index must be reachable")
        raise
    return folder


@asynccontextmanager
async def serving(
    settings: Settings, system: System, make_user: MakeUser, folder: Path
) -> AsyncIterator[list[str]]:
    """A running installation; gives the arguments of the tutorial's program."""
    user = await make_user(Role.SUPER_ADMIN)
    path = folder / "members.csv"
    path.write_bytes(csv_file([*members(20), member(30, Surname="")]))
    async with Site(quick(settings)) as site, working(system):
        yield [f"http://{site.host}", user.email, PASSWORD, str(path)]


async def said(*command: str | Path) -> dict[str, Any]:
    """What a program prints, as JSON."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    answer: dict[str, Any] = json.loads(out)
    return answer


def is_the_tutorial(answer: dict[str, Any]) -> None:
    """The upload of 21 rows, of which one is refused, as every client reads it."""
    age = clock.now() - dt.datetime.fromisoformat(answer.pop("created"))
    assert dt.timedelta(0) < age < dt.timedelta(hours=1)
    assert answer.pop("outcomes") == {
        "inserted": 20, "updated": 0, "unchanged": 0, "invalid": 1, "duplicate": 0,
        "out_of_scope": 0,
    }  # fmt: skip
    assert answer == {
        "rows": 21, "refused": 1, "report": "PK", "refused_rows": "PK", "after": 401,
    }  # fmt: skip


async def test_a_client_by_openapi_python_client_runs_the_tutorial(
    python_client: Path, settings: Settings, system: System, make_user: MakeUser, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "compileall", "-q", "rollbook_client", cwd=python_client)
    async with serving(settings, system, make_user, tmp_path) as arguments:
        is_the_tutorial(await said(sys.executable, HERE / "tutorial.py", python_client, *arguments))


@with_npm
async def test_a_client_by_openapi_typescript_runs_the_tutorial(
    document: Path, settings: Settings, system: System, make_user: MakeUser, tmp_path: Path
) -> None:
    if shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed (Debian: npm)")
    folder = tmp_path / "client"
    shutil.copytree(HERE / "client", folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    run(*install, cwd=folder)
    run("npx", "openapi-typescript", document, "--output", "rollbook.d.ts", cwd=folder)
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--types", "node"]
    run("npx", "tsc", *options, "tutorial.ts", cwd=folder)
    async with serving(settings, system, make_user, tmp_path) as arguments:
        is_the_tutorial(await said("node", folder / "tutorial.js", *arguments))
