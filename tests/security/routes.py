"""Who may do what: a rule for every route. A route without one fails the tests.

A new route gets its rule here, and is then tried by all roles, with ids of all offices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tests.files import csv_file
from tests.security.house import BASE

#: A list of one account to invite.
ACCOUNTS = b"E-mail,Role,Province,Municipality\nlisted@example.org,municipality_admin,GP,Midvaal\n"
TUS = {"Tus-Resumable": "1.0.0"}
#: ``anybody`` needs no token; ``operators`` are the national roles.
Who = Literal["anybody", "signed_in", "operators"]


@dataclass(frozen=True)
class Rule:
    """Who may use a route, and what it answers to them."""

    who: Who
    #: The statuses of an answer to who may, with an id of the own scope where the route has one.
    answers: frozenset[int] = frozenset({200})
    #: Of a request that makes sense.
    more: dict[str, Any] = field(default_factory=dict)
    #: Set for streams: only their beginning can be read.
    streams: bool = False


def _for(who: Who, *answers: int, streams: bool = False, **more: Any) -> Rule:
    return Rule(who, frozenset(answers or {200}), more, streams)


RULES: dict[tuple[str, str], Rule] = {
    # --- for everybody
    ("GET", "/"): _for("anybody"),
    ("GET", "/page/{version}/{name:path}"): _for("anybody"),
    ("GET", "/docs"): _for("anybody"),
    ("GET", "/docs/{name}"): _for("anybody"),
    ("GET", "/openapi.json"): _for("anybody"),
    ("GET", "/healthz"): _for("anybody"),
    ("GET", "/readyz"): _for("anybody"),
    ("GET", "/metrics"): _for("anybody"),
    ("POST", "/api/v1/auth/login"): _for(
        "anybody", 401, json={"email": "nobody@example.org", "password": "wrong"}
    ),
    ("POST", "/api/v1/auth/link"): _for("anybody", 404, json={"token": "guessed"}),
    ("POST", "/api/v1/auth/link/password"): _for(
        "anybody", 404, json={"token": "guessed", "password": "eight odd pelicans"}
    ),
    # No provider is set there.
    ("GET", "/api/v1/auth/oidc"): _for("anybody"),
    ("GET", "/api/v1/auth/oidc/start"): _for("anybody", 404),
    ("GET", "/api/v1/auth/oidc/callback"): _for("anybody", 404),
    ("POST", "/api/v1/auth/oidc/token"): _for("anybody", 404),
    # --- for who is signed in; what has an id, for the upload's scope
    ("GET", "/api/v1/auth/me"): _for("signed_in"),
    ("PATCH", "/api/v1/auth/me"): _for("signed_in", json={"language": "en"}),
    ("POST", "/api/v1/auth/renew"): _for("signed_in"),
    ("POST", "/api/v1/auth/logout"): _for("signed_in"),
    # 422: the current password is wrong. 429: for the fifth time.
    ("POST", "/api/v1/auth/password"): _for(
        "signed_in", 422, 429, json={"current_password": "no", "new_password": "eight odd pelicans"}
    ),
    ("GET", "/api/v1/auth/sessions"): _for("signed_in"),
    # tests/security/test_second_factor.py tries those of others.
    ("DELETE", "/api/v1/auth/sessions/{session_id}"): _for("signed_in", 404),
    ("GET", "/api/v1/auth/second-factor"): _for("signed_in"),
    # As for the password above.
    ("POST", "/api/v1/auth/second-factor"): _for(
        "signed_in", 422, 429, json={"current_password": "no"}
    ),
    ("POST", "/api/v1/auth/second-factor/confirm"): _for("signed_in", 409, json={"code": "1"}),
    ("POST", "/api/v1/auth/second-factor/recovery-codes"): _for(
        "signed_in", 422, 429, json={"current_password": "no"}
    ),
    ("POST", "/api/v1/auth/second-factor/off"): _for(
        "signed_in", 422, 429, json={"current_password": "no"}
    ),
    ("GET", "/api/v1/keys"): _for("signed_in"),
    ("POST", "/api/v1/keys"): _for(
        "signed_in", 201, 409, json={"name": "a program", "scopes": ["read"]}
    ),
    ("DELETE", "/api/v1/keys/{key_id}"): _for("signed_in", 404),
    # tests/integration/accounts/test_people.py tries them with ids of other offices.
    ("GET", "/api/v1/users"): _for("signed_in", params={"page_size": 500}),
    # 403: a municipality's administrator, and another province's. 409: the second time.
    ("POST", "/api/v1/users"): _for(
        "signed_in", 201, 403, 409,
        json={
            "email": "new@example.org", "role": "municipality_admin", "province": "GP",
            "municipality": "Emfuleni",
        },
    ),
    ("GET", "/api/v1/users/template"): _for("signed_in"),
    # 403: a municipality's administrator.
    ("POST", "/api/v1/users/invitations/check"): _for(
        "signed_in", 200, 403, files={"file": ("people.csv", ACCOUNTS)}
    ),
    # 422: another province's, and the second time.
    ("POST", "/api/v1/users/invitations"): _for(
        "signed_in", 201, 403, 422, files={"file": ("people.csv", ACCOUNTS)}
    ),
    ("PATCH", "/api/v1/users/{user_id}"): _for("signed_in", 404, json={"version": 1}),
    ("DELETE", "/api/v1/users/{user_id}"): _for("signed_in", 404),
    ("POST", "/api/v1/users/{user_id}/reset"): _for("signed_in", 404),
    ("DELETE", "/api/v1/users/{user_id}/second-factor"): _for("signed_in", 404),
    ("GET", "/api/v1/offices"): _for("signed_in", params={"page_size": 500}),
    ("GET", "/api/v1/webhooks"): _for("signed_in"),
    ("POST", "/api/v1/webhooks"): _for(
        "signed_in", 201, json={"url": "https://hooks.invalid/", "events": ["upload.verified"]}
    ),
    # tests/integration/notifications/test_webhooks.py tries them with ids of other offices.
    ("PATCH", "/api/v1/webhooks/{webhook_id}"): _for("signed_in", 404, json={"is_active": True}),
    ("DELETE", "/api/v1/webhooks/{webhook_id}"): _for("signed_in", 404),
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"): _for("signed_in", 404),
    ("POST", "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/again"): _for(
        "signed_in", 404
    ),
    ("POST", f"{BASE}/check"): _for(
        "signed_in", files={"file": ("members.csv", csv_file(2)), "allow_duplicate": (None, "true")}
    ),
    # There is no check of this id; test_checks.py tries those of others.
    ("POST", f"{BASE}/check/{{check_id}}"): _for("signed_in", 404, json={"sheet": "*"}),
    ("OPTIONS", f"{BASE}/files"): _for("signed_in", 204),
    # 429: the third time, where an account has that many.
    ("POST", f"{BASE}/files"): _for(
        "signed_in", 201, 429,
        headers={
            "Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filename bS5jc3Y=",
        },
    ),
    # There is no file of this id; test_partial.py tries those of others.
    ("HEAD", f"{BASE}/files/{{file_id}}"): _for("signed_in", 404, headers=TUS),
    ("PATCH", f"{BASE}/files/{{file_id}}"): _for(
        "signed_in", 404,
        headers={**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    ),
    ("DELETE", f"{BASE}/files/{{file_id}}"): _for("signed_in", 404, headers=TUS),
    ("POST", f"{BASE}/process"): _for(
        "signed_in", 202, 409, files={"file": ("again.csv", csv_file(rows=1))}
    ),
    ("POST", f"{BASE}/run/{{job_id}}"): _for("signed_in", 409),
    # 422: an operator has removed the rows with the report in another of these tests.
    ("GET", f"{BASE}/mend/{{job_id}}"): _for("signed_in", 200, 422),
    ("GET", f"{BASE}/facets/{{job_id}}"): _for("signed_in", 200, 422),
    ("POST", f"{BASE}/mend/{{job_id}}/check"): _for(
        "signed_in", 200, 422, json={"rows": [{"row_number": 2, "cells": {}}]}
    ),
    # 409: no row of this number can be fixed.
    ("POST", f"{BASE}/mend/{{job_id}}"): _for(
        "signed_in", 409, 422, json={"rows": [{"row_number": 999, "cells": {}}]}
    ),
    ("GET", f"{BASE}/aliases"): _for("signed_in", params={"page_size": 500}),
    # There is no alias of this id; test_fixes.py tries the ids of other offices.
    ("DELETE", f"{BASE}/aliases/{{alias_id}}"): _for("signed_in", 404),
    ("GET", f"{BASE}/status/{{job_id}}"): _for("signed_in"),
    ("GET", f"{BASE}/rows/{{job_id}}"): _for("signed_in"),
    ("GET", f"{BASE}/problems/{{job_id}}"): _for("signed_in"),
    ("GET", f"{BASE}/changes/{{job_id}}"): _for("signed_in"),
    # 404: an operator has removed it in another of these tests.
    ("GET", f"{BASE}/report/{{job_id}}"): _for("signed_in", 200, 404),
    ("GET", f"{BASE}/failed-rows/{{job_id}}"): _for("signed_in", 200, 404),
    ("GET", f"{BASE}/template"): _for("signed_in"),
    ("GET", f"{BASE}/mappings"): _for("signed_in", params={"page_size": 500}),
    # There is no mapping of this id; test_mappings.py tries the ids of other offices.
    ("PATCH", f"{BASE}/mappings/{{mapping_id}}"): _for(
        "signed_in", 404, json={"columns": {"Lid No": "id_number"}}
    ),
    ("DELETE", f"{BASE}/mappings/{{mapping_id}}"): _for("signed_in", 404),
    ("GET", "/api/v1/members"): _for("signed_in", params={"page_size": 500}),
    ("POST", "/api/v1/members/search"): _for("signed_in", json={"search": "nkosi"}),
    # There is no member of this id; tests/integration/members tries the ids of other offices.
    ("GET", "/api/v1/members/{member_id}"): _for("signed_in", 404),
    ("PATCH", "/api/v1/members/{member_id}"): _for(
        "signed_in", 404, json={"version": 1, "reason": "by phone", "fields": {"ward": "79800001"}}
    ),
    ("POST", "/api/v1/members/{member_id}/status"): _for(
        "signed_in", 404, json={"version": 1, "reason": "by phone", "status": "Active"}
    ),
    ("GET", "/api/v1/members/fields"): _for("signed_in", 200),
    ("GET", "/api/v1/members/report"): _for("signed_in", 200),
    ("GET", "/api/v1/members/report/content"): _for("signed_in", 200),
    ("GET", "/api/v1/members/duplicates"): _for("signed_in", 200),
    # There is no such pair; tests/integration/members/test_duplicates.py tries those of others.
    ("POST", "/api/v1/members/duplicates/{pair_id}/different"): _for("signed_in", 404),
    ("POST", "/api/v1/members/duplicates/{pair_id}/join"): _for(
        "signed_in", 404, json={"keep": "00000000-0000-4000-8000-000000000000", "reason": "same"}
    ),
    ("POST", "/api/v1/members/duplicates/{pair_id}/separate"): _for(
        "signed_in", 404, json={"reason": "not the same"}
    ),
    # 422: none of the scope's members fits.
    ("POST", "/api/v1/members/removal"): _for(
        "signed_in", 200, 422, json={"status": "Nothing", "reason": "moved"}
    ),
    ("POST", "/api/v1/members/export"): _for("signed_in", 202, 429, json={"format": "csv"}),
    # Each file is its owner's; tests/integration/members/test_export.py tries those of others.
    ("GET", "/api/v1/members/files/{file_id}"): _for("signed_in", 404),
    ("GET", "/api/v1/members/files/{file_id}/content"): _for("signed_in", 404),
    ("POST", "/api/v1/members/{member_id}/access"): _for("signed_in", 404),
    ("POST", "/api/v1/members/{member_id}/id-number"): _for("signed_in", 404),
    # 403: in scope, and a colleague's. 409: it is through.
    ("POST", f"{BASE}/cancel/{{job_id}}"): _for("signed_in", 403, 409),
    ("GET", f"{BASE}/history"): _for("signed_in", params={"page_size": 500}),
    ("GET", f"{BASE}/stats"): _for("signed_in"),
    ("GET", f"{BASE}/stats/over-time"): _for("signed_in"),
    ("GET", f"{BASE}/queue/stats"): _for("signed_in"),
    ("GET", f"{BASE}/queue/jobs"): _for("signed_in", params={"page_size": 200}),
    ("GET", f"{BASE}/rate-limit-status"): _for("signed_in"),
    ("GET", f"{BASE}/can-upload"): _for("signed_in"),
    ("GET", f"{BASE}/audit/mine"): _for("signed_in", params={"page_size": 500}),
    ("GET", f"{BASE}/events"): _for("signed_in", streams=True),
    ("WEBSOCKET", f"{BASE}/ws"): _for("signed_in", streams=True),
    # --- for operators
    ("POST", "/api/v1/members/{member_id}/erase"): _for(
        "operators", 404, json={"reason": "asked for it", "confirm": True}
    ),
    ("GET", "/api/v1/members/erasures/{receipt_id}"): _for("operators", 404),
    # 404: nobody has this number.
    ("POST", "/api/v1/members/erase"): _for(
        "operators", 404,
        json={"id_number": "9912310000083", "reason": "asked for it", "confirm": True},
    ),
    ("POST", "/api/v1/members/readmit"): _for(
        "operators", 404, json={"id_number": "8001015009087"}
    ),
    ("GET", f"{BASE}/audit"): _for("operators"),
    ("GET", f"{BASE}/queue/workers"): _for("operators"),
    ("POST", f"{BASE}/queue/retry/{{job_id}}"): _for("operators", 409),
    ("POST", f"{BASE}/queue/clean"): _for("operators", json={"grace_period_hours": 24}),
    ("POST", f"{BASE}/queue/pause"): _for("operators"),
    ("POST", f"{BASE}/queue/resume"): _for("operators"),
    ("GET", f"{BASE}/monitor/status"): _for("operators"),
    ("POST", f"{BASE}/monitor/start"): _for("operators"),
    ("POST", f"{BASE}/monitor/stop"): _for("operators"),
    ("POST", f"{BASE}/monitor/process"): _for("operators", 404, json={"file_name": "none.csv"}),
    ("GET", f"{BASE}/reports"): _for("operators"),
    ("GET", f"{BASE}/reports/stats"): _for("operators"),
    ("GET", f"{BASE}/reports/{{job_id}}"): _for("operators", 200, 404),
    ("DELETE", f"{BASE}/reports/{{job_id}}"): _for("operators", 200, 404),
    ("POST", f"{BASE}/reports/cleanup"): _for("operators", json={"dry_run": True}),
    ("POST", f"{BASE}/undo/{{job_id}}"): _for("operators", json={"dry_run": True}),
    ("GET", f"{BASE}/undo/{{job_id}}/kept"): _for("operators"),
    ("GET", f"{BASE}/undo/{{job_id}}/kept.csv"): _for("operators"),
}  # fmt: skip
