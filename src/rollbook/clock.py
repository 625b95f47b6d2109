"""The one module that knows the time, so that a test can move it."""

from __future__ import annotations

import datetime as dt


def now() -> dt.datetime:
    """The present moment, in UTC and aware of it."""
    return dt.datetime.now(dt.UTC)


def today() -> dt.date:
    """Today's date in South Africa (UTC+2, no daylight saving), where the members live."""
    return (now() + dt.timedelta(hours=2)).date()
