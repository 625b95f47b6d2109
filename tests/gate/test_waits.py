"""No test waits without a bound: a lint of the tests' own code, and the tests of that lint.

A bound is ``asyncio.timeout`` or ``asyncio.wait_for`` around the wait, a ``timeout`` argument, or a
deadline that the loop checks. A loop that starts a new timeout in each round has no bound.
Requests to a server have a ``timeout`` too: httpx's own is five seconds, in which a busy machine
may not answer.
Code that doesn't wait, such as the loop of a server that its fixture ends, has a comment
``# no bound: REASON`` on its line.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TESTS = Path(__file__).parents[1]
MARK = "# no bound: "
#: Methods that wait for ever where no argument says how long.
WAITS = frozenset({"wait", "join", "get", "recv", "acquire", "readline", "serve_forever"})
#: Functions that wait for ever unless ``timeout`` is among their arguments.
PROGRAMS = {("subprocess", name) for name in ("run", "call", "check_call", "check_output")}
NEED_TIMEOUT = frozenset({("asyncio", "wait"), *PROGRAMS})
#: Clients of a server, which give up too soon unless ``timeout`` is among their arguments; where a
#: ``transport`` is, there is no server.
REQUESTS = frozenset(
    ("httpx", name)
    for name in (
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "request",
        "stream",
        "Client",
        "AsyncClient",
    )
)
#: What bounds the waits in its arguments, or in its block.
BOUNDS = frozenset({"asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"})
#: Nodes without one below them that could wait.
LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.alias, ast.arg)
#: Words of a condition or a statement by which a loop looks at the time.
CLOCKS = ("deadline", "monotonic")


class _Lint(ast.NodeVisitor):
    """Collects the lines that wait without a bound."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._bounds = 0
        self._is_in_loop = False
        self.found: dict[int, str] = {}

    def _note(self, node: ast.expr | ast.stmt, what: str) -> None:
        written = self._lines[node.lineno - 1 : node.end_lineno]
        if not self._bounds and not any(MARK in line for line in (written[0], written[-1])):
            self.found[node.lineno] = what

    def _bounded(self, nodes: Sequence[ast.AST]) -> None:
        self._bounds += 1
        for node in nodes:
            self.visit(node)
        self._bounds -= 1

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        # It may run after what it is written in has ended.
        outside = self._bounds, self._is_in_loop
        self._bounds, self._is_in_loop = 0, isinstance(node, ast.AsyncFunctionDef)
        self.generic_visit(node)
        self._bounds, self._is_in_loop = outside

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function  # noqa: N815 - of ast

    def generic_visit(self, node: ast.AST) -> None:
        """As ``ast.NodeVisitor``, without the nodes that have none below them, which are most."""
        for name in node._fields:
            value = getattr(node, name)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.AST) and not isinstance(child, LEAVES):
                    self.visit(child)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        if not any(_is_bound(item.context_expr) for item in node.items):
            self.generic_visit(node)
            return
        self._bounded([*(item.context_expr for item in node.items), *node.body])

    def visit_Expr(self, node: ast.Expr) -> None:
        if self._is_in_loop and _locks_table(node.value):
            self._note(node, "what holds a lock may wait for this loop: use asyncio.to_thread")
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        if _may_wait(node) and not any(word in ast.unparse(node) for word in CLOCKS):
            self._note(node.test, "a loop without a deadline")
        self.generic_visit(node)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        if isinstance(node.iter, ast.Attribute) and node.iter.attr in {"stdout", "stderr"}:
            self._note(node.iter, "a process's output may never end")
        self.generic_visit(node)

    visit_For = visit_AsyncFor = _for  # noqa: N815 - of ast

    def visit_Call(self, node: ast.Call) -> None:
        if _name(node) in BOUNDS:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(_is_constant(argument, "None") for argument in arguments):
                self._note(node, "None is no bound")
            self._bounded(arguments)
            return
        if reason := _unbounded(node):
            self._note(node, reason)
        self.generic_visit(node)


def _locks_table(node: ast.expr) -> bool:
    """Does an expression wait for a table's lock, and let nothing else go on?"""
    if not isinstance(node, ast.Call) or not node.args:
        return False
    [statement, *_] = node.args
    return isinstance(statement, ast.Constant) and str(statement.value).startswith("LOCK TABLE")


def _unbounded(node: ast.Call) -> str | None:
    """Why a call may wait for ever."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    module, _, method = _name(node).rpartition(".")
    reasons = {
        "None is no bound": _is_constant(given.get("timeout"), "None"),
        "block=0 waits for ever": _is_constant(given.get("block"), "0"),
        "a busy machine may need more than five seconds": (module, method) in REQUESTS
        and not {"timeout", "transport"} & given.keys(),
        "it needs a timeout": "timeout" not in given
        and (method == "communicate" or (module, method) in NEED_TIMEOUT),
        "without an argument it waits for ever": bool(module)
        and method in WAITS
        and not node.args
        and not given,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _name(node: ast.Call) -> str:
    """The dotted name of what is called; ``?`` for a part that is no name."""
    return _dotted(node.func)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _is_bound(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or _name(node) not in BOUNDS:
        return False
    return not any(_is_constant(argument, "None") for argument in node.args)


def _is_constant(node: ast.expr | None, literal: str) -> bool:
    return isinstance(node, ast.Constant) and repr(node.value) == literal


def _may_wait(node: ast.While) -> bool:
    """Does a loop wait for something that it doesn't do itself?"""
    return any(
        isinstance(part, ast.Await)
        or (isinstance(part, ast.Call) and _name(part).rpartition(".")[2] in {"sleep", "recv"})
        for part in ast.walk(node)
    ) or _is_constant(node.test, "True")


def unbounded_waits(source: str) -> dict[int, str]:
    """The lines that wait without a bound, with the reason."""
    lint = _Lint(source.splitlines())
    lint.visit(ast.parse(source))
    return lint.found


def _sources() -> Iterator[Path]:
    return (path for path in sorted(TESTS.rglob("*.py")) if path.parent.name != "golden")


def test_no_test_waits_without_a_bound() -> None:
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}: {reason}"
        for path in _sources()
        for line, reason in sorted(unbounded_waits(path.read_text(encoding="utf-8")).items())
    ]
    assert not found, "give each a bound (tests/waiting.py has helpers):\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "while True:\n    look()",
        "while not done:\n    time.sleep(1)",
        "while not wanted(await line.next()):\n    pass",
        # The timeout begins again in each round.
        "while True:\n    async with asyncio.timeout(5):\n        await line.recv()",
        # The function may run after the timeout has ended.
        "async with asyncio.timeout(5):\n    async def later():\n        await event.wait()",
        "await event.wait()",
        "await asyncio.wait_for(event.wait(), None)",
        "async with asyncio.timeout(None):\n    pass",
        "await asyncio.wait(tasks)",
        "thread.join()",
        "lock.acquire()",
        "process.wait(timeout=None)",
        "process.communicate(b'text')",
        "process.stdout.readline()",
        "for line in process.stdout:\n    print(line)",
        "subprocess.run(['sleep', '600'], check=True)",
        "client.xread({key: 0}, block=0)",
        "said = messages.get()",
        "holding.execute('LOCK TABLE members')",
        "httpx.get(address)",
        "async with httpx.AsyncClient(headers=headers) as client:\n    await client.get(address)",
    ],
)
def test_the_lint_finds_a_wait_without_a_bound(source: str) -> None:
    body = "\n".join("    " + line for line in source.splitlines())
    assert unbounded_waits(f"async def test():\n{body}\n")


@pytest.mark.parametrize(
    "source",
    [
        "while time.monotonic() < end:\n    time.sleep(1)",
        "while True:\n    assert clock() < deadline",
        "async with asyncio.timeout(5):\n    while True:\n        await line.recv()",
        "await asyncio.wait_for(event.wait(), 5)",
        "await asyncio.wait(tasks, timeout=5)",
        "while numbers:\n    numbers.pop()",
        "', '.join(words)",
        "found.get('name')",
        "process.wait(5)",
        "subprocess.run(['true'], check=True, timeout=5)",
        "client.xread({key: 0}, block=500)",
        "await closing.wait()  # no bound: until the fixture ends",
        "await asyncio.to_thread(holding.execute, 'LOCK TABLE members')",
        "def held():\n    holding.execute('LOCK TABLE members')",
        "httpx.get(address, timeout=5)",
        "httpx.AsyncClient(transport=httpx.ASGITransport(app))",
    ],
)
def test_the_lint_lets_a_bounded_wait_be(source: str) -> None:
    body = "\n".join("    " + line for line in source.splitlines())
    assert not unbounded_waits(f"async def test():\n{body}\n")
