"""The layout of the package: floors without a circle, no loose module, none that is too long."""

from __future__ import annotations

import ast
from functools import cache
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
    {"fields"},
    {"errors"},
    {"places", "masking", "clock", "languages"},
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
#: Modules at the top of the package; all others lie in a room.
TOP = {"__init__", "__main__", "model", "contract", "errors", "masking", "clock"}
MOST_LINES = 600
MODULES = sorted(SOURCE.rglob("*.py"))
#: What only a child needs, to read a file. It takes 40 MB and a third of a second to load.
OF_THE_CHILD = {"fastexcel", "numpy", "phonenumbers", "polars", "rapidfuzz"}


@cache
def _imports(path: Path) -> list[tuple[str, bool]]:
    """What a module imports, wherever in it, as dotted names: and does it when it is loaded?

    The trees aren't kept: the collector of garbage would go through all of them, again and again.
    """
    found: list[tuple[str, bool]] = []
    statements: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), True)]
    while statements:
        node, is_loaded = statements.pop()
        if isinstance(node, ast.Import):
            found += [(name.name, is_loaded) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += [(f"{node.module}.{name.name}", is_loaded) for name in node.names]
        is_run = is_loaded and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            does = is_run and not (is_checked and part == "body")
            statements += [(one, does) for one in getattr(node, part, [])]
    return found


def _imported(path: Path) -> set[str]:
    """The modules of the package that a module imports."""
    return {name for name, _ in _imports(path) if name.startswith("rollbook.")}


def _room(dotted: str) -> str:
    return dotted.split(".")[1]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


def test_a_room_imports_only_rooms_on_lower_floors() -> None:
    """Floors that are kept leave no circle between rooms."""
    faults = []
    for path in MODULES:
        own = _module(path)
        if own in {"rollbook.__init__", "rollbook.__main__"}:
            continue
        # ``__version__`` is the package's own.
        rooms = {_room(name) for name in _imported(path)} - {_room(own), "__version__"}
        too_high = sorted(room for room in rooms if FLOOR[room] <= FLOOR[_room(own)])
        faults += [f"{own} imports {room}, which is not on a lower floor" for room in too_high]
    assert faults == []


def test_every_module_lies_in_a_room_that_the_layout_names() -> None:
    loose = {path.stem for path in SOURCE.glob("*.py")} - TOP
    assert not loose, f"loose modules: {sorted(loose)}"
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert rooms <= set(FLOOR), f"rooms that no floor names: {sorted(rooms - set(FLOOR))}"


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lines = {_module(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    long = {name: number for name, number in lines.items() if number > MOST_LINES}
    assert not long, f"{long}: is there a second noun in them?"


def test_each_file_of_data_has_one_reader() -> None:
    for data in SOURCE.rglob("*.toml"):
        readers = [path for path in MODULES if f'"{data.name}"' in path.read_text("utf-8")]
        assert len(readers) == 1, f"{data.name} is read by {[_module(path) for path in readers]}"


@pytest.mark.parametrize("start", ["rollbook.api.app", "rollbook.worker.process"])
def test_the_api_and_the_worker_load_none_of_the_libraries_that_read_files(start: str) -> None:
    paths = {_module(path).removesuffix(".__init__"): path for path in MODULES}
    way = {start: start}
    open_ends = [start]
    while open_ends:
        module = open_ends.pop()
        for name in (name for name, is_loaded in _imports(paths[module]) if is_loaded):
            heavy = name.partition(".")[0] in OF_THE_CHILD
            assert not heavy, f"{start} loads {name}: {way[module]}"
            # What is imported from a package may be one of its modules, or a name in it.
            parts = name.split(".")
            for part in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
                if part in paths and part not in way:
                    way[part] = f"{way[module]} -> {part}"
                    open_ends.append(part)
    assert len(way) > 50
