"""What every process of one trial knows: it is read from the environment that the runner sets.

Peers import this module in their own environments, so it needs nothing but Python.
"""

from __future__ import annotations

import os

#: A Unix-socket address, ``unix:///...?db=n``.
REDIS_URL = os.environ.get("BENCH_REDIS_URL", "")
#: The named pipe into which each job writes when it starts.
FIFO = os.environ.get("BENCH_FIFO", "")
#: Seconds that a job takes after it has reported its start.
HOLD_S = float(os.environ.get("BENCH_HOLD_S", "0"))
#: Use the settings that notice a dead worker soonest, instead of the peer's own timings.
TUNED = os.environ.get("BENCH_TUNED") == "1"
#: Jobs at a time, for every peer.
CONCURRENCY = 2
