"""The one module that knows the time, so that a test can move it."""

from __future__ import annotations

import datetime as dt

#: South Africa has no daylight saving.
SOUTH_AFRICA = dt.timezone(dt.timedelta(hours=2))


def now() -> dt.datetime:
    """The present moment, in UTC and aware of it."""
    return dt.datetime.now(dt.UTC)


def today() -> dt.date:
    """Today's date in South Africa, where the members live."""
    return now().astimezone(SOUTH_AFRICA).date()
