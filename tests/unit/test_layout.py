"""The layout of the package: floors without a circle, no loose module, none that is too long."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rollbook

SOURCE = Path(rollbook.__file__).parent
#: The floors, from the top. A room imports only rooms that are on a lower floor.
FLOORS = (
    {"cli"},
    {"api"},
    {"live"},
    {"worker"},
    {"folder", "contract"},
    {"members"},
    {"uploads"},
    {"pipeline"},
    {"notifications"},
    {"voter_roll"},
    {"service"},
    {"queue"},
    {"accounts"},
    {"telemetry", "model"},
    {"backends"},
    {"spreadsheets"},
    {"engines", "config"},
    {"page"},
    {"sql"},
    {"errors"},
    {"places", "masking", "clock"},
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
#: Modules at the top of the package; all others lie in a room.
TOP = {"__init__", "__main__", "model", "contract", "errors", "masking", "clock"}
MOST_LINES = 600
MODULES = sorted(SOURCE.rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """The modules of the package that a module imports, wherever in it, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.startswith("rollbook.")}


def _room(dotted: str) -> str:
    return dotted.split(".")[1]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=_module)
def test_a_room_imports_only_rooms_on_lower_floors(path: Path) -> None:
    """Floors that are kept leave no circle between rooms."""
    own = _module(path)
    if own in {"rollbook.__init__", "rollbook.__main__"}:
        return
    # ``__version__`` is the package's own.
    rooms = {_room(name) for name in _imported(path)} - {_room(own), "__version__"}
    too_high = {room for room in rooms if FLOOR[room] <= FLOOR[_room(own)]}
    assert not too_high, f"{own} imports {sorted(too_high)}, which are not on a lower floor"


def test_every_module_lies_in_a_room_that_the_layout_names() -> None:
    loose = {path.stem for path in SOURCE.glob("*.py")} - TOP
    assert not loose, f"loose modules: {sorted(loose)}"
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert rooms <= set(FLOOR), f"rooms that no floor names: {sorted(rooms - set(FLOOR))}"


@pytest.mark.parametrize("path", MODULES, ids=_module)
def test_no_module_is_longer_than_a_reader_can_hold(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{_module(path)} has {lines} lines: is there a second noun in it?"
