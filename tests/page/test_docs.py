"""The description of the API, tried in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page


def test_an_operation_is_tried_on_the_description_itself(open_page: Callable[..., Page]) -> None:
    page = open_page(None, "docs")
    page.locator("#operations-tag-health").click()
    operation = page.locator("#operations-health-get_health")
    operation.get_by_role("button", name="/healthz").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    # No policy was broken, or `open_page` says so.
    expect(operation.locator(".live-responses-table td.response-col_status").last).to_contain_text(
        "200"
    )
