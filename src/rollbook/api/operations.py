"""Names of operations and texts of parameters in the OpenAPI document.

A generated client has a function for each operation and an argument for each parameter. FastAPI
would name them after the address: ``status_api_v1_bulk_upload_status__job_id__get``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_UPLOADS: Final = "/api/v1/bulk-upload"

#: Operations whose function has another name. All others are named as their functions are.
IDS: Final[dict[tuple[str, str], str]] = {
    ("POST", "/api/v1/auth/login"): "sign_in",
    ("POST", "/api/v1/auth/renew"): "renew_token",
    ("POST", "/api/v1/auth/logout"): "sign_out",
    ("POST", "/api/v1/auth/password"): "change_password",
    ("GET", "/api/v1/auth/me"): "get_account",
    ("PATCH", "/api/v1/auth/me"): "change_account",
    ("POST", "/api/v1/auth/link"): "open_link",
    ("POST", "/api/v1/auth/link/password"): "choose_password",
    ("GET", "/api/v1/auth/oidc"): "get_provider",
    ("GET", "/api/v1/auth/oidc/start"): "begin_provider_sign_in",
    ("GET", "/api/v1/auth/oidc/callback"): "finish_provider_sign_in",
    ("POST", "/api/v1/auth/oidc/token"): "exchange_provider_sign_in",
    ("POST", f"{_UPLOADS}/check"): "check_file",
    ("POST", f"{_UPLOADS}/check/{{check_id}}"): "check_file_again",
    ("OPTIONS", f"{_UPLOADS}/files"): "get_resumable_options",
    ("HEAD", f"{_UPLOADS}/files/{{file_id}}"): "get_file_offset",
    ("POST", f"{_UPLOADS}/process"): "send_file",
    ("POST", f"{_UPLOADS}/run/{{job_id}}"): "run_dry_run",
    ("GET", f"{_UPLOADS}/status/{{job_id}}"): "get_upload",
    ("GET", f"{_UPLOADS}/rows/{{job_id}}"): "list_rows",
    ("GET", f"{_UPLOADS}/problems/{{job_id}}"): "count_problems",
    ("GET", f"{_UPLOADS}/changes/{{job_id}}"): "list_changes",
    ("GET", f"{_UPLOADS}/report/{{job_id}}"): "download_report",
    ("GET", f"{_UPLOADS}/failed-rows/{{job_id}}"): "download_refused_rows",
    ("GET", f"{_UPLOADS}/template"): "download_template",
    ("POST", f"{_UPLOADS}/cancel/{{job_id}}"): "cancel_upload",
    ("GET", f"{_UPLOADS}/history"): "list_uploads",
    ("GET", f"{_UPLOADS}/stats"): "get_statistics",
    ("GET", f"{_UPLOADS}/stats/over-time"): "get_statistics_over_time",
    ("GET", f"{_UPLOADS}/mappings"): "list_mappings",
    ("PATCH", f"{_UPLOADS}/mappings/{{mapping_id}}"): "change_mapping",
    ("DELETE", f"{_UPLOADS}/mappings/{{mapping_id}}"): "forget_mapping",
    ("GET", f"{_UPLOADS}/aliases"): "list_aliases",
    ("DELETE", f"{_UPLOADS}/aliases/{{alias_id}}"): "forget_alias",
    ("GET", f"{_UPLOADS}/mend/{{job_id}}"): "list_fixable_rows",
    ("GET", f"{_UPLOADS}/facets/{{job_id}}"): "list_facets",
    ("GET", f"{_UPLOADS}/queue/stats"): "get_queue",
    ("GET", f"{_UPLOADS}/queue/jobs"): "list_jobs",
    ("GET", f"{_UPLOADS}/queue/workers"): "list_workers",
    ("POST", f"{_UPLOADS}/queue/retry/{{job_id}}"): "retry_upload",
    ("POST", f"{_UPLOADS}/queue/clean"): "clean_queue",
    ("POST", f"{_UPLOADS}/queue/pause"): "pause_queue",
    ("POST", f"{_UPLOADS}/queue/resume"): "resume_queue",
    ("GET", f"{_UPLOADS}/rate-limit-status"): "get_voter_roll_budget",
    ("GET", f"{_UPLOADS}/events"): "listen",
    ("GET", f"{_UPLOADS}/monitor/status"): "get_watched_folder",
    ("POST", f"{_UPLOADS}/monitor/start"): "start_watching",
    ("POST", f"{_UPLOADS}/monitor/stop"): "stop_watching",
    ("POST", f"{_UPLOADS}/monitor/process"): "take_file",
    ("GET", f"{_UPLOADS}/reports"): "list_reports",
    ("GET", f"{_UPLOADS}/reports/stats"): "get_report_statistics",
    ("GET", f"{_UPLOADS}/reports/{{job_id}}"): "download_stored_report",
    ("DELETE", f"{_UPLOADS}/reports/{{job_id}}"): "delete_report",
    ("POST", f"{_UPLOADS}/reports/cleanup"): "clean_up_reports",
    ("GET", f"{_UPLOADS}/audit"): "list_audit_entries",
    ("GET", f"{_UPLOADS}/audit/mine"): "list_own_audit_entries",
    ("GET", f"{_UPLOADS}/undo/{{job_id}}/kept"): "list_kept_members",
    ("GET", f"{_UPLOADS}/undo/{{job_id}}/kept.csv"): "download_kept_members",
    ("GET", "/api/v1/members"): "list_members",
    ("POST", "/api/v1/members/search"): "search_members",
    ("GET", "/api/v1/members/{member_id}"): "get_member",
    ("POST", "/api/v1/members/{member_id}/id-number"): "open_id_number",
    ("POST", "/api/v1/members/{member_id}/status"): "set_member_status",
    ("POST", "/api/v1/members/{member_id}/access"): "request_person_file",
    ("GET", "/api/v1/members/report"): "get_members_report",
    ("GET", "/api/v1/members/report/content"): "download_members_report",
    ("GET", "/api/v1/members/duplicates"): "list_duplicates",
    ("GET", "/api/v1/members/files/{file_id}"): "get_members_file",
    ("GET", "/api/v1/members/files/{file_id}/content"): "download_members_file",
    ("GET", "/api/v1/members/erasures/{receipt_id}"): "get_erasure",
    ("POST", "/api/v1/members/erase"): "erase_by_id_number",
    ("POST", "/api/v1/members/readmit"): "readmit_person",
    ("GET", "/api/v1/users/template"): "download_accounts_template",
    ("POST", "/api/v1/users/invitations"): "invite_list",
    ("POST", "/api/v1/users/invitations/check"): "check_list_of_accounts",
    ("GET", "/healthz"): "get_health",
    ("GET", "/readyz"): "get_readiness",
    ("GET", "/metrics"): "get_metrics",
}

#: The media types of downloads, by operation.
DOWNLOADS: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "download_report",
            "download_refused_rows",
            "download_template",
            "download_accounts_template",
            "download_stored_report",
            "download_members_report",
        ),
        XLSX,
    ),
    "download_kept_members": "text/csv",
    # A workbook, text or JSON, as it was asked for.
    "download_members_file": "application/octet-stream",
}

#: What a parameter is, where the route says nothing of its own; the same on all routes.
PARAMETERS: Final[dict[str, str]] = {
    "job_id": "The upload's id, as the answer to the file had it.",
    "member_id": "The member's id, as lists and changes have it.",
    "pair_id": "The id of a pair of possible duplicates, as the list has it.",
    "why": "Only pairs that were found by this.",
    "file_id": "The file's id, as the answer to the request had it as `job_id`.",
    "receipt_id": "The receipt of the erasure.",
    "check_id": "The check's id, as the answer to the file had it.",
    "mapping_id": "The mapping's id, as the list has it.",
    "alias_id": "The word's id, as the list has it.",
    "user_id": "The account's id, as the list has it.",
    "session_id": "The id of the session, as the list of sessions has it.",
    "key_id": "The key's id, as the list has it.",
    "webhook_id": "The webhook's id, as the list has it.",
    "municipality": "A name, or a part of one.",
    "ward": "The ward's code or number.",
    "expires_before": "Only members whose membership ends before this day.",
    "sort": "The order of the list.",
    "page": "The page, from 1.",
    "page_size": "How many a page holds.",
    "status": "Only those in this state.",
    "verification": "Only rows of which the voter roll says this.",
    "problem": "Only rows that have the problem of this code.",
    "days": "How many days up to today, in South Africa.",
    "rows": "Rows of the file that would be sent.",
    "act": "Only entries of this act.",
    "since": "The number of the last message that the client knows; it gets what came after it.",
    "last-event-id": "The same, as browsers send it when they reconnect by themselves.",
    "idempotency-key": "The same key with the same file is one upload, however often it is sent.",
    "authorization": "`Bearer` and ROLLBOOK_METRICS_TOKEN, where that is set.",
    "code": "The provider's code.",
    "state": "What the sign-in began with.",
    "iss": "Which provider it is.",
    "error": "Why the provider didn't sign the person in.",
}


def id_of(route: APIRoute) -> str:
    """The name of an operation."""
    return IDS.get((min(route.methods or {""}), route.path_format), route.name)
