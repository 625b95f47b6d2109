"""The one module that knows the time, so that a test can move it."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

#: South Africa has no daylight saving.
SOUTH_AFRICA = dt.timezone(dt.timedelta(hours=2))


def now() -> dt.datetime:
    """The present moment, in UTC and aware of it."""
    return dt.datetime.now(dt.UTC)


def today() -> dt.date:
    """Today's date in South Africa, where the members live."""
    return now().astimezone(SOUTH_AFRICA).date()


def local(moment: dt.datetime, zone: str) -> dt.datetime:
    """An aware moment as the named zone's clocks show it, for a cell, which has no zone."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def in_words(moment: dt.datetime, zone: str) -> str:
    """An aware moment for people, with the named zone: ``2026-11-24 10:00 SAST``."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"
