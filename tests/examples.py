"""How many random examples a property has: few in the gate, more in ``make properties``."""

from __future__ import annotations

import os


def few(gate: int, *, more: int) -> int:
    """``gate`` examples, the same in each run, or ``more`` new ones in ``make properties``.

    ``HYPOTHESIS_EXAMPLES=500`` tries so many of each.
    """
    wanted = os.environ.get("HYPOTHESIS_EXAMPLES")
    return int(wanted or (more if "ROLLBOOK_EXPLORE" in os.environ else gate))
