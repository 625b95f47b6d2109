"""One installation serves all tests here that need a whole one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import emptied_redis
from tests.databases import own_database
from tests.integration.conftest import api
from tests.page.site import site_settings
from tests.security.house import House, Receivers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.engines import Addresses


__all__ = ["api"]


@pytest.fixture(scope="package")
def house(
    engines: Addresses, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """The installation, with an upload of each office."""
    folder = tmp_path_factory.mktemp("house")
    with own_database(engines, template, "house") as address, Receivers() as receivers:
        settings = site_settings(address, emptied_redis(engines), folder)
        changes = {
            **receivers.settings,
            "queue_name": "house",
            "requests_per_minute": 1_000_000,
            "office_requests_per_minute": 1_000_000,
            "max_upload_mb": 8,  # more than the store takes at a time
            "idle_connection_s": 60.0,  # longer than a client keeps one
        }
        opened = House(folder, settings.model_copy(update=changes), receivers=receivers)
        try:
            opened.open()
            opened.fill()
            yield opened
        finally:
            opened.close()
