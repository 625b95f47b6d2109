"""The description of the API, tried in the browser."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.page.test_views import HAS_ALL_LOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

PATH = "/healthz"


#: A shape that a description refers to.
SHAPE = re.compile(r'"#/components/schemas/([^"]+)"')


def describe_one(route: Route) -> None:
    """Let the description have one operation and its shapes: all of them take five seconds."""
    answer = route.fetch()
    described = answer.json()
    described["paths"] = {PATH: described["paths"][PATH]}
    shapes, described["components"]["schemas"] = described["components"]["schemas"], {}
    unread = [described["paths"]]
    while unread:  # no bound: each shape is read once
        for name in SHAPE.findall(json.dumps(unread.pop())):
            if name not in described["components"]["schemas"]:
                described["components"]["schemas"][name] = shapes[name]
                unread.append(shapes[name])
    route.fulfill(response=answer, json=described)


def test_an_operation_is_tried_on_the_description_itself(open_page: Callable[..., Page]) -> None:
    """``make page`` shows the whole description."""

    def prepare(page: Page) -> None:
        if not HAS_ALL_LOOKS:
            page.route("**/openapi.json", describe_one)

    page = open_page(None, "docs", before=prepare)
    page.locator("#operations-tag-health").click()
    operation = page.locator("#operations-health-get_health")
    operation.get_by_role("button", name=PATH).first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    # No policy was broken, or `open_page` says so.
    expect(operation.locator(".live-responses-table td.response-col_status").last).to_contain_text(
        "200"
    )
