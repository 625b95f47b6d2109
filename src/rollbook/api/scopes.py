"""What each scope of a key opens: one table over all routes, which a test compares with them.

A route that isn't in the table is closed to keys. The role and the place of the key count as well.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection

from rollbook.api.requests import route_of
from rollbook.errors import KeyScopeError
from rollbook.model import KEY_SCOPES, KeyScope, Session

_UPLOADS = "/api/v1/bulk-upload"
#: Each of these scopes opens the route.
Scopes = frozenset[KeyScope]
UPLOAD: Final[Scopes] = frozenset({"upload"})
READ: Final[Scopes] = frozenset({"read"})
UPLOAD_OR_READ: Final[Scopes] = UPLOAD | READ
OPERATE: Final[Scopes] = frozenset({"operate"})
MEMBERS: Final[Scopes] = frozenset({"members"})
ANY: Final[Scopes] = frozenset(KEY_SCOPES)
#: Passwords, sessions, accounts and keys are not for programs.
PEOPLE: Final[Scopes] = frozenset()

OPENS: Final[dict[tuple[str, str], Scopes]] = {
    ("GET", "/api/v1/auth/me"): ANY,
    ("PATCH", "/api/v1/auth/me"): PEOPLE,
    ("POST", "/api/v1/auth/renew"): PEOPLE,
    ("POST", "/api/v1/auth/logout"): PEOPLE,
    ("POST", "/api/v1/auth/password"): PEOPLE,
    ("GET", "/api/v1/auth/sessions"): PEOPLE,
    ("DELETE", "/api/v1/auth/sessions/{session_id}"): PEOPLE,
    ("GET", "/api/v1/auth/second-factor"): PEOPLE,
    ("POST", "/api/v1/auth/second-factor"): PEOPLE,
    ("POST", "/api/v1/auth/second-factor/confirm"): PEOPLE,
    ("POST", "/api/v1/auth/second-factor/recovery-codes"): PEOPLE,
    ("POST", "/api/v1/auth/second-factor/off"): PEOPLE,
    ("GET", "/api/v1/users"): PEOPLE,
    ("POST", "/api/v1/users"): PEOPLE,
    ("GET", "/api/v1/users/template"): PEOPLE,
    ("POST", "/api/v1/users/invitations"): PEOPLE,
    ("POST", "/api/v1/users/invitations/check"): PEOPLE,
    ("PATCH", "/api/v1/users/{user_id:uuid}"): PEOPLE,
    ("DELETE", "/api/v1/users/{user_id:uuid}"): PEOPLE,
    ("POST", "/api/v1/users/{user_id}/reset"): PEOPLE,
    ("DELETE", "/api/v1/users/{user_id}/second-factor"): PEOPLE,
    ("GET", "/api/v1/offices"): PEOPLE,
    ("GET", "/api/v1/webhooks"): READ,
    ("POST", "/api/v1/webhooks"): OPERATE,
    ("PATCH", "/api/v1/webhooks/{webhook_id}"): OPERATE,
    ("DELETE", "/api/v1/webhooks/{webhook_id}"): OPERATE,
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"): READ,
    ("POST", "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/again"): OPERATE,
    ("GET", "/api/v1/keys"): PEOPLE,
    ("POST", "/api/v1/keys"): PEOPLE,
    ("DELETE", "/api/v1/keys/{key_id}"): PEOPLE,
    # --- sending files
    ("POST", f"{_UPLOADS}/check"): UPLOAD,
    ("POST", f"{_UPLOADS}/check/{{check_id}}"): UPLOAD,
    ("OPTIONS", f"{_UPLOADS}/files"): UPLOAD,
    ("POST", f"{_UPLOADS}/files"): UPLOAD,
    ("HEAD", f"{_UPLOADS}/files/{{file_id}}"): UPLOAD,
    ("PATCH", f"{_UPLOADS}/files/{{file_id}}"): UPLOAD,
    ("DELETE", f"{_UPLOADS}/files/{{file_id}}"): UPLOAD,
    ("POST", f"{_UPLOADS}/process"): UPLOAD,
    ("POST", f"{_UPLOADS}/run/{{job_id}}"): UPLOAD,
    ("POST", f"{_UPLOADS}/cancel/{{job_id}}"): UPLOAD,
    ("POST", f"{_UPLOADS}/mend/{{job_id}}"): UPLOAD,
    ("POST", f"{_UPLOADS}/mend/{{job_id}}/check"): UPLOAD,
    ("DELETE", f"{_UPLOADS}/aliases/{{alias_id}}"): UPLOAD,
    ("PATCH", f"{_UPLOADS}/mappings/{{mapping_id}}"): UPLOAD,
    ("DELETE", f"{_UPLOADS}/mappings/{{mapping_id}}"): UPLOAD,
    ("GET", f"{_UPLOADS}/template"): UPLOAD_OR_READ,
    ("GET", f"{_UPLOADS}/can-upload"): UPLOAD_OR_READ,
    ("GET", f"{_UPLOADS}/rate-limit-status"): UPLOAD_OR_READ,
    # --- following them
    ("GET", f"{_UPLOADS}/status/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/rows/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/problems/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/changes/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/report/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/failed-rows/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/history"): READ,
    ("GET", f"{_UPLOADS}/stats"): READ,
    ("GET", f"{_UPLOADS}/stats/over-time"): READ,
    ("GET", f"{_UPLOADS}/queue/stats"): READ,
    ("GET", f"{_UPLOADS}/queue/jobs"): READ,
    ("GET", f"{_UPLOADS}/mappings"): READ,
    ("GET", f"{_UPLOADS}/mend/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/facets/{{job_id}}"): READ,
    ("GET", f"{_UPLOADS}/aliases"): READ,
    ("GET", f"{_UPLOADS}/audit/mine"): READ,
    ("GET", f"{_UPLOADS}/events"): READ,
    ("WEBSOCKET", f"{_UPLOADS}/ws"): READ,
    # --- members
    ("GET", "/api/v1/members"): MEMBERS,
    ("GET", "/api/v1/members/fields"): MEMBERS,
    ("POST", "/api/v1/members/search"): MEMBERS,
    ("GET", "/api/v1/members/{member_id:uuid}"): MEMBERS,
    ("POST", "/api/v1/members/{member_id}/id-number"): MEMBERS,
    ("PATCH", "/api/v1/members/{member_id:uuid}"): MEMBERS,
    ("POST", "/api/v1/members/{member_id}/status"): MEMBERS,
    ("POST", "/api/v1/members/{member_id}/access"): MEMBERS,
    ("POST", "/api/v1/members/export"): MEMBERS,
    ("GET", "/api/v1/members/files/{file_id}"): MEMBERS,
    ("GET", "/api/v1/members/files/{file_id}/content"): MEMBERS,
    ("GET", "/api/v1/members/erasures/{receipt_id}"): MEMBERS,
    ("GET", "/api/v1/members/duplicates"): MEMBERS,
    ("GET", "/api/v1/members/report"): MEMBERS,
    ("GET", "/api/v1/members/report/content"): MEMBERS,
    ("POST", "/api/v1/members/removal"): MEMBERS,
    # Whether two members are one person, and what can't be taken back, a person decides.
    ("POST", "/api/v1/members/duplicates/{pair_id}/different"): PEOPLE,
    ("POST", "/api/v1/members/duplicates/{pair_id}/join"): PEOPLE,
    ("POST", "/api/v1/members/duplicates/{pair_id}/separate"): PEOPLE,
    ("POST", "/api/v1/members/{member_id}/erase"): PEOPLE,
    ("POST", "/api/v1/members/erase"): PEOPLE,
    ("POST", "/api/v1/members/readmit"): PEOPLE,
    # --- operating; the role must be an operator's too
    ("GET", f"{_UPLOADS}/queue/workers"): OPERATE,
    ("POST", f"{_UPLOADS}/queue/retry/{{job_id}}"): OPERATE,
    ("POST", f"{_UPLOADS}/queue/clean"): OPERATE,
    ("POST", f"{_UPLOADS}/queue/pause"): OPERATE,
    ("POST", f"{_UPLOADS}/queue/resume"): OPERATE,
    ("GET", f"{_UPLOADS}/monitor/status"): OPERATE,
    ("POST", f"{_UPLOADS}/monitor/start"): OPERATE,
    ("POST", f"{_UPLOADS}/monitor/stop"): OPERATE,
    ("POST", f"{_UPLOADS}/monitor/process"): OPERATE,
    ("GET", f"{_UPLOADS}/reports"): OPERATE,
    ("GET", f"{_UPLOADS}/reports/stats"): OPERATE,
    ("GET", f"{_UPLOADS}/reports/{{job_id:uuid}}"): OPERATE,
    ("DELETE", f"{_UPLOADS}/reports/{{job_id:uuid}}"): OPERATE,
    ("POST", f"{_UPLOADS}/reports/cleanup"): OPERATE,
    ("GET", f"{_UPLOADS}/audit"): OPERATE,
    ("POST", f"{_UPLOADS}/undo/{{job_id}}"): OPERATE,
    ("GET", f"{_UPLOADS}/undo/{{job_id}}/kept"): OPERATE,
    ("GET", f"{_UPLOADS}/undo/{{job_id}}/kept.csv"): OPERATE,
}
#: A key that removes members, or sets their status by a list, has all of these.
REMOVAL: Final[Scopes] = UPLOAD | MEMBERS
#: With ROLLBOOK_FIRST_SYSTEM_CLIENTS besides. A connection of Socket.IO begins with one of two.
FIRST_SYSTEM_OPENS: Final[dict[tuple[str, str], Scopes]] = {
    ("GET", "/socket.io"): READ,
    ("WEBSOCKET", "/socket.io"): READ,
    ("GET", f"{_UPLOADS}/reports/metadata"): READ,
    ("GET", f"{_UPLOADS}/reports/date-range"): READ,
    ("GET", f"{_UPLOADS}/reports/{{job_id:uuid}}/metadata"): READ,
    ("POST", f"{_UPLOADS}/reports/cleanup-orphaned"): OPERATE,
}
_ALL: Final = OPENS | FIRST_SYSTEM_OPENS


def check(connection: HTTPConnection, session: Session) -> None:
    """Refuse a key whose scopes don't open the route of this request.

    Raises:
        KeyScopeError: they don't.
    """
    given = session.scopes or frozenset()
    method = connection.scope.get("method", "WEBSOCKET")
    path = route_of(connection.scope)
    opening = _ALL.get((method, path))
    if opening is None:  # what answers GET answers HEAD
        opening = _ALL.get(("GET" if method == "HEAD" else method, path), PEOPLE)
    if opening & given:
        return
    if not opening:
        raise KeyScopeError(
            "No key opens this call; it is for people who sign in. Nothing was changed."
        )
    raise KeyScopeError(
        f"This key has no scope for this call, which needs {' or '.join(sorted(opening))}. Nothing "
        "was changed; make a key with that scope."
    )


def check_removal(session: Session) -> None:
    """Refuse a key that sends an upload of kind ``removal`` without the scopes for it.

    Raises:
        KeyScopeError: it hasn't all of them.
    """
    if session.scopes is not None and not session.scopes >= REMOVAL:
        raise KeyScopeError(
            "A removal needs a key with the scopes members and upload, or a person who signs in. "
            "This key hasn't both. Nothing was changed; make a key with both scopes."
        )
