"""Runs the commands of the README and the tutorial as a newcomer would, in their order.

Every block of ``sh`` is run by one bash in a copy of the checkout. A comment above it may say how:

- ``<!-- in the background until: TEXT -->``: it runs until it is stopped. The next block begins
  when it has printed TEXT, and it ends with the page.
- ``<!-- with servers of the script's -->``: it names servers at ``example.org``. What ran is
  stopped, and a PostgreSQL and a Valkey are started that stand in for them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollbook.engines import Engines

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/tutorial/first-upload.md")
#: Seconds that a block, or the wait for what runs in the background, gets.
PATIENCE_S = 240.0

#: What .ci/run runs by itself.
GATES = ("make test",)

#: What is kept for the blocks that follow.
_SET = re.compile(r"declare -\S+ (TOKEN|JOB|DATABASE_URL|REDIS_URL)=")
_SERVERS = "with servers of the script's"
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*?) -->\n+)?```sh\n(?P<commands>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of commands."""

    line: int
    commands: str
    #: What the comment above it says.
    mark: str = ""


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page, with the line on which each begins."""
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("commands")) + 1
        yield Block(line, found["commands"], found["mark"] or "")


class Reader:
    """A newcomer with a checkout of their own, in which the page's commands are run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ROLLBOOK_", "REDIS_", "DATABASE_"))
        }
        self._environment = {**kept, "ROLLBOOK_ADMIN_PASSWORD": "the password that was shown"}
        #: What a page's blocks have set, for the blocks that follow.
        self._set = folder / "set"
        self._set.touch()
        self._engines: Engines | None = None

    def run(self, block: Block) -> str | None:
        """Run a block; what went wrong, or None."""
        if block.mark.startswith("in the background until: "):
            return self._begin(block.commands, block.mark.partition(": ")[2])
        commands = "".join(
            line for line in block.commands.splitlines(keepends=True) if not line.startswith(GATES)
        )
        if block.mark == _SERVERS:
            commands = self._with_servers(commands)
        script = f"set -euo pipefail; . '{self._set}'\n{commands}\ndeclare -p > '{self._set}.new'"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder / "checkout",
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            return f"exit code {done.returncode}\n{done.stdout.decode(errors='replace')}"
        set_now = Path(f"{self._set}.new").read_text(encoding="utf-8")
        ours = [line for line in set_now.splitlines() if _SET.match(line)]
        self._set.write_text("\n".join(ours), encoding="utf-8")
        return None

    def _with_servers(self, commands: str) -> str:
        """The commands with the addresses of two servers that run now."""
        self.close()
        self._engines = Engines(self._folder / "servers")
        addresses = self._engines.start()
        for scheme, address in (
            ("postgresql", addresses.database_url),
            ("redis", addresses.redis_url),
        ):
            commands, count = re.subn(rf"{scheme}://\S+\.example\.org\S*", f"'{address}'", commands)
            if count != 1:
                sys.exit(f"there is no single address of {scheme} to replace in\n{commands}")
        return commands

    def _begin(self, commands: str, until: str) -> str | None:
        said = self._folder / f"said by {len(self._running)}"
        with said.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f". '{self._set}'; exec {commands.strip().partition('#')[0]}"],
                cwd=self._folder / "checkout",
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.poll() is None:
            if until in said.read_text(errors="replace"):
                return None
            time.sleep(0.1)
        return f"it never said {until!r}\n{said.read_text(errors='replace')}"

    def close(self) -> None:
        """Stop what still runs."""
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)
        self._running.clear()
        if self._engines is not None:
            self._engines.stop()


def try_page(page: str) -> int:
    """Run a page's blocks in a checkout; how many there are.

    Raises:
        SystemExit: one of them failed.
    """
    count = 0
    with tempfile.TemporaryDirectory(prefix="readme-") as name:
        folder = Path(name)
        _check_out(folder / "checkout")
        reader = Reader(folder)
        try:
            for block in blocks((ROOT / page).read_text(encoding="utf-8")):
                began = time.monotonic()
                if (wrong := reader.run(block)) is not None:
                    sys.exit(f"{page}, line {block.line}:\n{block.commands}\n{wrong}")
                how = block.mark or f"{time.monotonic() - began:.1f} s"
                sys.stdout.write(f"{page}, line {block.line}: {how}\n")
                count += 1
        finally:
            reader.close()
    return count


def _check_out(to: Path) -> None:
    """What git knows of this folder, as it is now, with its environment of Python."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    # Installing the same again would take a minute; .ci/run has just done it.
    (to / ".venv").symlink_to(ROOT / ".venv")


def main() -> None:
    """Run every page."""
    for page in PAGES:
        if not try_page(page):
            sys.exit(f"{page} has no command to run")


if __name__ == "__main__":
    main()
