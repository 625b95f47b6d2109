"""What the doctor says of settings, without a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from rollbook.config import Settings
from rollbook.service import doctor_settings
from rollbook.service.doctor_settings import settings_findings

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.service.findings import Finding


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 GB, and no container."""
    memory = psutil.virtual_memory()._replace(total=64 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(doctor_settings, "CGROUP_LIMITS", ())


def found(**changes: Any) -> dict[str, Finding]:
    settings = Settings(_env_file=None).model_copy(update=changes)
    return {one.check: one for one in settings_findings(settings)}


def test_the_defaults_fit_together() -> None:
    assert {one.level for one in found().values()} == {"ok"}


@pytest.mark.parametrize(
    ("lower", "higher"), [(lower, higher) for lower, higher, _ in doctor_settings._LOWER]
)
def test_a_setting_that_must_be_lower_than_another_is_said(lower: str, higher: str) -> None:
    fields = Settings.model_fields
    assert fields[lower].default < fields[higher].default
    one = found(**{lower: fields[higher].default})[f"ROLLBOOK_{lower.upper()}"]
    assert one.level == "warning"
    assert f"ROLLBOOK_{higher.upper()}" in one.found


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"undo_timeout_s": 350}, "ROLLBOOK_UNDO_TIMEOUT_S"),
        ({"database_answer_s": 360}, "ROLLBOOK_DATABASE_ANSWER_S"),
        ({"check_timeout_s": 180}, "ROLLBOOK_CHECK_TIMEOUT_S"),
        ({"invitations_mail_s": 600}, "ROLLBOOK_INVITATIONS_MAIL_S"),
        ({"clamd_timeout_s": 360, "clamd_url": "unix:///c"}, "ROLLBOOK_CLAMD_TIMEOUT_S"),
    ],
)
def test_an_answer_that_a_proxy_does_not_wait_for_is_said(
    changes: dict[str, Any], name: str
) -> None:
    one = found(**changes)["longest answer"]
    assert one.level == "warning"
    assert name in one.found


def test_a_scanner_that_is_not_there_delays_no_answer() -> None:
    assert found(clamd_timeout_s=3600)["longest answer"].level == "ok"


@pytest.mark.parametrize(
    ("limit", "level"), [("max", "ok"), (str(8 << 30), "warning"), (str(16 << 30), "ok")]
)
def test_a_worker_that_may_take_more_memory_than_there_is_is_said(
    limit: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_container = tmp_path / "memory.max"
    of_container.write_text(f"{limit}\n", encoding="ascii")
    monkeypatch.setattr(
        doctor_settings, "CGROUP_LIMITS", (tmp_path / "of the other version", of_container)
    )
    one = found()["memory"]
    assert one.level == level
    # Two children and one, of 4096 MB, and the worker itself.
    assert re.search(r"may take 12538 MB", one.found)
    assert found(concurrency=20)["memory"].level == "warning"
