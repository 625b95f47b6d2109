"""Writes the pages that are generated from other sources: columns, routes, messages and more.

``make docs`` runs it. With ``--check`` it only names the pages that are out of date.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rollbook.api.app import create_app
from rollbook.api.scopes import FIRST_SYSTEM_OPENS, OPENS, Scopes
from rollbook.config import Settings
from rollbook.pipeline.columns import REQUIRED, variants

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent.parent / "docs"
MADE = "<!-- Made by scripts/docs_pages.py from {source}: change that, then run make docs. -->\n\n"

#: How a field's cells are read, where they aren't read as text.
KINDS = {
    "id_number": "13 digits; leading zeros that a numeric cell lost come back where date and check "
    "digit prove them",
    "passport_number": "in place of the ID number, where [passports are accepted](passports.md)",
    "passport_country": "by its name in English or Afrikaans, or its code",
    "cell_number": "to `+27...`; other countries' numbers keep their `+`",
    "landline_number": "to `+27...`",
    "email": "lower case",
    "full_name": "split into first name and surname",
    "age": "a number; compared with the ID number, and decides its century",
    "gender": "`male`, `female`",
    "citizenship": "compared with the ID number",
    "province": "to its code, such as `GP`",
    "municipality": "to its official name in the register of municipalities, such as `Emfuleni`",
    "voting_district": "8 digits",
    "date_joined": "a date",
    "last_payment": "a date",
    "expiry_date": "a date; 24 months after the last payment where the file has none "
    "([which one counts](expiry.md))",
    "ward": "its number or its code of 8 digits; other text stays as it is",
    "membership_amount": "an amount such as `R10.00`",
}

_OF_EVERY_MESSAGE = {"type", "seq", "at", "job_id"}


def columns() -> str:
    """The known columns, with every header that means one."""
    lines = [
        "# Columns\n",
        "A header is recognised without regard to case, accents, spaces and punctuation. `No`, "
        "`Nr` and `Number` are one word. A qualifier in brackets, such as `(13 digits)`, "
        "`(required)` or `(dd/mm/yyyy)`, a number in front and words such as `Member's` change "
        "nothing; anything else in brackets, such as `(spouse)`, does. Of alternatives such as "
        "`Surname / Van` all must mean one field; beside the ID number another document may be "
        "named: `ID number/Passport`.\n",
        "A header that is only near a known one, by one edit, or listed as possible "
        "(`src/rollbook/pipeline/headers.toml`), is suggested and never used by itself. Columns "
        "that aren't known are shown in the [report](report.md). For a header that isn't "
        "in this table, send a [mapping](rest.md#options-of-an-upload) with the upload: it is "
        "remembered for your office's next files with the same headers.\n",
        "Several headers of a file may mean one field. They count in the order of this table, "
        "then in that of the file: of each row the first that has a value is read, and another "
        "value is left out and flagged (`second_column_differs`). Headers as plain as `ID`, "
        "`Name` or `Amount` count only where the file has no other header of their field. A "
        "column of whole names (`full_name`) is split into first name and surname.\n",
        "A header with a word of correction, such as `Corrected ID Number`, `Surname (new)`, "
        "`Nuwe Sel` or `Iwadi entsha` (words in `src/rollbook/pipeline/corrections.toml`), is "
        "the field where no other column is. Beside the plain column it counts after that one, "
        "so it fills empty cells. Where it differs from the plain cell, that is kept with a "
        "warning (`correction_left_out`); another ID or passport number refuses the row "
        "(`id_corrected`), "
        "since the old number may be another person's. Cells such as `yes`, `same` or the date "
        "of the change correct nothing. Beside a column of former values (`Old Ward`, `New Ward`) "
        "the new value counts, and the former one where that is empty; one that differs is flagged "
        "(`second_column_differs`).\n",
        "The header row may be below title rows. Of several sheets the first with ID numbers is "
        "read, unless you name one. [Values](values.md) says how cells are read.\n",
        "| field | headers | how its cells are read |",
        "|---|---|---|",
    ]
    for field, names in variants().items():
        needed = " **(needed)**" if field in REQUIRED else ""
        kind = KINDS.get(field, "text")
        lines.append(f"| `{field}`{needed} | {', '.join(names)} | {kind} |")
    return _page("src/rollbook/pipeline/columns.toml", lines)


def decisions() -> str:
    """Every decision by its title."""
    lines = [
        "# Decisions\n",
        "One page each: what was decided, why, and what it costs.\n",
    ]
    for path in sorted(DOCS.glob("decisions/0*.md")):
        number, title = path.read_text(encoding="utf-8").splitlines()[0][2:].split(". ", 1)
        lines.append(f"- [{number}. {title}]({path.name})")
    return _page("the pages themselves", lines)


def routes() -> str:
    """Every route of the REST interface, as the running system describes it."""
    document = create_app(Settings(_env_file=None)).openapi()
    found = [
        (operation["tags"][0] if operation.get("tags") else "", method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    lines = [
        "# Routes\n",
        "Every route with its parameters and answers. The same, with the fields of each body and "
        "answer, is at `/docs` of a running system, where it can be tried, and at `/openapi.json` "
        "for programs. [REST](rest.md) has the rules that apply to all of them.\n",
    ]
    found.sort(key=lambda one: one[0])
    for tag, group in groupby(found, key=lambda one: one[0]):
        lines.append(f"## {tag[:1].upper()}{tag[1:]}\n")
        for _, method, path, operation in group:
            lines += _route(method, path, operation)
    return _page("the application's OpenAPI document", lines)


def key_scopes() -> str:
    """The scopes of a key that open each route."""
    lines = [
        "# Scopes of each route\n",
        "The scopes of a [key](keys.md) that open each route; one of them is enough. The key's "
        "role and place count besides. Where there is none, the route is for people who sign in. "
        "An upload of kind `removal` needs `members` and `upload` both, on each route that sends "
        "one.\n",
        *_scopes(OPENS),
        "\n## With the first system's clients\n",
        "Where `ROLLBOOK_FIRST_SYSTEM_CLIENTS` lets "
        "[its clients](../how-to/move-from-node.md#the-first-systems-clients) in:\n",
        *_scopes(FIRST_SYSTEM_OPENS),
    ]
    return _page("src/rollbook/api/scopes.py", lines)


def _scopes(opens: dict[tuple[str, str], Scopes]) -> list[str]:
    lines = ["| route | scopes |", "|---|---|"]
    for (method, path), opening in sorted(opens.items(), key=lambda one: one[0][::-1]):
        if method == "WEBSOCKET" and ("GET", path) in opens:
            continue  # the same address by another transport
        scopes = ", ".join(f"`{scope}`" for scope in sorted(opening)) or "none"
        lines.append(f"| `{method.replace('WEBSOCKET', 'GET')} {path}` | {scopes} |")
    return lines


def messages() -> str:
    """Every live message, with what its ``data`` holds."""
    document = yaml.safe_load((DOCS / "reference/asyncapi.yaml").read_text(encoding="utf-8"))
    lines = [
        "# Fields of live messages\n",
        "Every message has `type`, `seq`, `job_id`, `at` and `data`; when and in "
        "what order they come is in [Live messages](live.md). [asyncapi.yaml](asyncapi.yaml) is "
        "the same for programs.\n",
    ]
    for name, message in document["components"]["messages"].items():
        lines += [f"## `{name}`\n", f"{message['summary']}\n"]
        schema = _resolved(document, message["payload"])
        for one in schema.get("oneOf", [schema]):
            variant = _resolved(document, one)
            if "title" in variant:
                lines.append(f"{variant['title'][:1].upper()}{variant['title'][1:]}:\n")
            own = {key: field for key, field in variant["properties"].items() if key != "type"}
            lines += ["| field | type | what |", "|---|---|---|"]
            lines += [row for key, field in own.items() for row in _fields(document, key, field)]
            lines.append("")
    return _page("docs/reference/asyncapi.yaml", lines)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its references, and with the properties of those that it extends."""
    if "$ref" in schema:
        found = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _resolved(document, found)
    properties: dict[str, Any] = {}
    for base in schema.get("allOf", []):
        inherited = _resolved(document, base).get("properties", {})
        # Every message has these, as the top of the page says.
        properties |= {key: one for key, one in inherited.items() if key not in _OF_EVERY_MESSAGE}
    return {**schema, "properties": properties | schema.get("properties", {})}


def _fields(document: dict[str, Any], name: str, schema: dict[str, Any]) -> Iterator[str]:
    """The rows of a field and of what it holds, named from ``data`` on."""
    schema = _resolved(document, schema)
    alternatives = [_resolved(document, one) for one in schema.get("oneOf", [])]
    said = _in_a_cell(schema.get("description", ""))
    if name != "data":  # says nothing by itself
        yield f"| `{name}` | {_kind(schema, alternatives)} | {said} |"
    for one in (schema, *alternatives):
        for key, field in one["properties"].items():
            yield from _fields(document, f"{name}.{key}", field)
    if "items" in schema:
        items = _resolved(document, schema["items"])
        for key, field in items["properties"].items():
            yield from _fields(document, f"{name}[].{key}", field)


def _kind(schema: dict[str, Any], alternatives: list[dict[str, Any]]) -> str:
    if alternatives:
        return " or ".join(_kind(one, []) for one in alternatives)
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    text = schema.get("format", "string")
    return " or ".join(str(text if kind == "string" else kind) for kind in kinds)


#: The pages that ``make bench`` refreshes, with what each is for.
MEASURED = {
    "performance.md": "Time for one file, compared with the first system, pandas and "
    "django-import-export.",
    "silently-wrong.md": "Cells of synthetic office files that come out wrong without a "
    "word, beside pandas and django-import-export.",
    "queue-performance.md": "The queue, compared with seven Python queues on the same Valkey.",
    "live-performance.md": "A thousand live clients while twenty files are processed.",
    "scaling.md": "More workers, more rows in a file, and more members in the table.",
}
_FIGURES = re.compile(r"<!-- figures -->\n(.*?)<!-- end of figures -->", re.DOTALL)
_PICTURE = re.compile(r"^!\[.*?\]\(.*?\)$", re.DOTALL | re.MULTILINE)


def benchmarks() -> str:
    """The first figures of each page of measurements, with when and on what they were taken."""
    lines = [
        "# Benchmarks\n",
        "`make bench` runs all of them, one after the other, on the machine at hand, and refreshes "
        "these pages: three hours in which nothing else should run there. Every comparison is of "
        "one run, side by side: the ratios carry over to other machines, the seconds don't.\n",
    ]
    texts = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("explanation/*.md")}
    measured = {name for name, text in texts.items() if _FIGURES.search(text)}
    if unknown := measured - MEASURED.keys():
        raise ValueError(f"say in MEASURED what {', '.join(sorted(unknown))} is for")
    for name in sorted(measured, key=list(MEASURED).index):
        what, text = MEASURED[name], texts[name]
        title = text.splitlines()[0].removeprefix("# ")
        found = _FIGURES.search(text)
        picture = _PICTURE.search(text)
        if found is None:
            raise ValueError(f"{name} has no figures")
        lines += [
            f"## [{title}]({name})\n",
            f"{what}\n",
            *([f"{picture[0]}\n"] if picture else []),
            f"{_to_first_table(found[1])}\n",
        ]
    return _page("the pages that it links to", lines)


def _to_first_table(figures: str) -> str:
    """The beginning of a page's figures, up to the end of their first table."""
    lines = figures.splitlines()
    rows = [n for n, line in enumerate(lines) if line.startswith("|")]
    end = next(n for n in range(rows[0], len(lines) + 1) if n == len(lines) or n not in rows)
    return "\n".join(lines[:end])


def _route(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    said = operation.get("description") or operation.get("summary", "")
    lines = [f"### `{method} {path}`\n", f"{_first_paragraph(said)}\n"]
    if "requestBody" in operation:
        kinds = ", ".join(f"`{kind}`" for kind in operation["requestBody"]["content"])
        lines.append(f"Body: {kinds}\n")
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | what |", "|---|---|---|"]
        for one in parameters:
            needed = ", needed" if one.get("required") else ""
            said = _in_a_cell(one.get("description", ""))
            lines.append(f"| `{one['name']}`{needed} | {one['in']} | {said} |")
        lines.append("")
    return [*lines, f"Answers: {', '.join(sorted(operation['responses']))}\n"]


def _first_paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", 1)[0].split())


def _in_a_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").rstrip(".")


def _page(source: str, lines: list[str]) -> str:
    return MADE.format(source=source) + "\n".join(lines).rstrip() + "\n"


PAGES = {
    "reference/columns.md": columns,
    "reference/routes.md": routes,
    "reference/key-scopes.md": key_scopes,
    "reference/messages.md": messages,
    "decisions/index.md": decisions,
    "explanation/benchmarks.md": benchmarks,
}


def out_of_date() -> list[str]:
    """The pages that don't say what the code says."""
    return [
        name
        for name, make in PAGES.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != make()
    ]


def main() -> None:
    """Write what is out of date, or only name it."""
    old = out_of_date()
    if "--check" in sys.argv:
        if old:
            sys.exit(f"out of date: {', '.join(old)}. Run make docs and commit what it changes.")
        return
    for name in old:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"written: docs/{name}\n")


if __name__ == "__main__":
    main()
