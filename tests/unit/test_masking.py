"""What is masked, and what isn't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbook.masking import masked, masked_cell

if TYPE_CHECKING:
    from uuid import UUID

ID_NUMBER = "8001015009087"
MASKED = "8001••••••087"


@pytest.mark.parametrize(
    "text",
    [
        "{}", "members {}.xlsx", "{}_{}.csv", "Lid{}No", "a\n{}\nb", "'{}'", "={}", "+{}", "({})",
        "{}, {}",
    ],
)  # fmt: skip
def test_an_id_number_is_masked_wherever_it_stands(text: str) -> None:
    assert masked(text.replace("{}", ID_NUMBER)) == text.replace("{}", MASKED)


@pytest.mark.parametrize(
    "grouped",
    [
        "800101 5009 087", "800101-5009-087", "8001 0150 0908 7", "800101\N{NBSP}5009087",
        "800101 - 5009 - 087", "800101\N{NON-BREAKING HYPHEN}5009\N{EN DASH}087",
        "800101\N{ZERO WIDTH SPACE}5009\N{SOFT HYPHEN}087",
    ],
)  # fmt: skip
def test_an_id_number_in_groups_is_masked_too(grouped: str) -> None:
    assert masked(f"of {grouped}!") == f"of {MASKED}!"


@pytest.mark.parametrize(
    "text",
    [
        "", "members 2026-11-28.xlsx", "+27 82 123 4567", "20261128120000",
        "export_2026-11-28_1200", "12345678-1234-1234-1234-123456789012", "22222222",
        "2026-11-28T12:00:00.123456Z",
    ],
)  # fmt: skip
def test_other_numbers_are_left_alone(text: str) -> None:
    assert masked(text) == text


@given(st.uuids())
def test_a_job_id_is_never_masked(job_id: UUID) -> None:
    assert masked(f"job {job_id}.") == f"job {job_id}."


@given(st.text())
def test_masking_again_changes_nothing(text: str) -> None:
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (ID_NUMBER, MASKED),
        ("80010150090871", "8001••••••871"),
        ("800101500908X", "8001••••••08X"),
        ("1015009087", "1015••••••087"),
        ("12345", "12345"),
    ],
)
def test_a_wrong_id_number_is_masked_in_its_own_column(cell: str, shown: str) -> None:
    assert masked_cell(cell) == shown
