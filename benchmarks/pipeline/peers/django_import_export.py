"""django-import-export with a model of its own; its row results and their diffs are its report."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import django
import tablib
from django.conf import settings
from django.core.exceptions import ValidationError
from rows import HEADERS, InvalidRowError, clean, field_of

settings.configure(
    DATABASES={
        "default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}
    },
    INSTALLED_APPS=["import_export"],
    USE_TZ=True,
)
django.setup()

from django.db import models  # noqa: E402 - Django must be set up before models are made
from import_export import resources  # noqa: E402

DATES = ("date_of_birth", "date_joined", "last_payment", "expiry_date")
TEXTS = [name for name in HEADERS.values() if name not in {*DATES, "id_number"}]

OUTCOMES = {"new": "inserted", "update": "updated", "skip": "unchanged", "invalid": "invalid"}


class Member(models.Model):
    """A member; the table is there already. The other columns are added below."""

    id_number = models.CharField(primary_key=True, max_length=13)

    class Meta:
        app_label = "import_export"  # an installed app: it wants one
        db_table = "plain_members"
        managed = False

    def __str__(self) -> str:
        return str(self.id_number)


for _name in TEXTS:
    _field: models.Field[Any, Any] = (
        models.DecimalField(max_digits=12, decimal_places=2, null=True)
        if _name == "membership_amount"
        else models.TextField(null=True)
    )
    Member.add_to_class(_name, _field)
for _name in DATES:
    Member.add_to_class(_name, models.DateField(null=True))


class MemberResource(resources.ModelResource):
    """How rows become members."""

    class Meta:
        model = Member
        import_id_fields = ("id_number",)
        skip_unchanged = True
        report_skipped = True
        use_transactions = True

    def before_import(self, dataset: tablib.Dataset, **_: Any) -> None:
        """Call the columns by the names of the fields."""
        self.seen: set[str] = set()
        dataset.headers = [field_of(header) or header for header in dataset.headers]
        dataset.append_col([None] * len(dataset), header="date_of_birth")

    def before_import_row(self, row: dict[str, Any], **_: Any) -> None:
        """Clean the row or refuse it."""
        try:
            values = clean(row)
        except InvalidRowError as error:
            raise ValidationError(str(error)) from error
        if values["id_number"] in self.seen:
            raise ValidationError("repeats another row")
        self.seen.add(values["id_number"])
        row.update(values)


def main(source: str, _: str) -> None:
    """Do it all and print what it took."""
    began = time.perf_counter()
    with Path(source).open("rb") as file:
        dataset = tablib.Dataset().load(file, format="xlsx")
    read = time.perf_counter()
    result = MemberResource().import_data(dataset, raise_errors=False)
    done = time.perf_counter()
    errors = [error for row in result.rows for error in row.errors] + result.base_errors
    if errors:
        raise RuntimeError(repr(errors[0].error))
    outcomes: Counter[str] = Counter()
    for row in result.rows:
        repeats = row.validation_error and "repeats" in str(row.validation_error)
        outcomes["duplicate" if repeats else OUTCOMES[row.import_type]] += 1
    stages = {"read": round(read - began, 3), "import": round(done - read, 3)}
    sys.stdout.write(json.dumps({"stages": stages, "outcomes": outcomes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
