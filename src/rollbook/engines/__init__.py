"""Embedded PostgreSQL and Valkey in the data folder, for operators without their own servers.

One process owns a data folder's engines: ``Engines`` starts them as children that end with it.
Other processes find the addresses with ``find_running``.
"""

from __future__ import annotations

from rollbook.engines.owner import Addresses, Engines, find_running, has_data

__all__ = ["Addresses", "Engines", "find_running", "has_data"]
