"""How each of a table of cases fails, for an assertion that names the case."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def refusal(asked: Awaitable[object]) -> Exception | None:
    """The error that something ends with; None if it succeeds."""
    try:
        await asked
    except Exception as error:  # noqa: BLE001 - the test says which one it expects
        return error
    return None
