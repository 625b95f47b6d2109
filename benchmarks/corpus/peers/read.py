"""Reads made files in the usual ways: ``read.py pandas|django FOLDER`` prints JSON.

The folder has the files and ``headers.json``: by file, the field of each header, as a person would
map them by hand. Rows are cleaned by the rules of the pipeline's peers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "pipeline" / "peers"))
from rows import InvalidRowError, clean


def by_pandas(path: Path, fields: dict[str, str]) -> dict[str, Any]:
    """``read_excel`` and ``read_csv`` as their documentation has them."""
    import pandas as pd  # noqa: PLC0415 - of one tool

    if path.suffix in (".csv", ".tsv", ".txt"):
        frame = pd.read_csv(path, sep=None, engine="python", dtype=str)
    else:
        frame = pd.read_excel(path, engine=None if path.suffix == ".xlsx" else "calamine")
    frame = frame.rename(columns={name: fields.get(str(name), name) for name in frame.columns})
    return members(frame.to_dict("records"))


def by_django(path: Path, fields: dict[str, str]) -> dict[str, Any]:
    """django-import-export's formats, and its import of rows into a table."""
    from import_export.formats import base_formats as formats  # noqa: PLC0415 - of one tool

    kind = {".xlsx": formats.XLSX, ".xlsm": formats.XLSX, ".xls": formats.XLS, ".ods": formats.ODS,
            ".tsv": formats.TSV}.get(path.suffix, formats.CSV)()  # fmt: skip
    content: Any = path.read_bytes()
    if not kind.is_binary():
        content = content.decode("utf-8-sig")
    dataset = kind.create_dataset(content)
    dataset.headers = [fields.get(str(header), header) for header in dataset.headers or []]
    return members(dataset.dict)


def members(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of the rows that aren't refused, by ID number."""
    found: dict[str, Any] = {}
    for row in rows:
        try:
            values = clean(row)
        except InvalidRowError:
            continue
        found.setdefault(values["id_number"], values)
    return {"members": found}


def main(tool: str, folder: Path) -> None:
    """Read all files."""
    if tool == "django":
        import django  # noqa: PLC0415 - of one tool
        from django.conf import settings  # noqa: PLC0415 - of one tool

        settings.configure(INSTALLED_APPS=["import_export"])
        django.setup()
    read = {"pandas": by_pandas, "django": by_django}[tool]
    answers = {}
    for name, fields in json.loads((folder / "headers.json").read_text("utf-8")).items():
        try:
            answers[name] = read(folder / name, fields)
        except Exception as error:  # noqa: BLE001 - with any error, the file isn't read
            answers[name] = {"error": repr(error)[:200]}
    sys.stdout.write(json.dumps(answers, default=str))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
