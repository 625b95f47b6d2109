"""PostgreSQL and Valkey inside the data folder, for operators who bring none of their own.

One process owns a data folder's engines: ``Engines`` starts them as children that end with it.
Other processes find the addresses with ``find_running``.
"""

from __future__ import annotations

from rollbook.engines.owner import Addresses, Engines, find_running

__all__ = ["Addresses", "Engines", "find_running"]
