"""One trace and one request id from an upload's request to its merge, over real processes."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr
from structlog.testing import capture_logs

from rollbook.accounts import users
from rollbook.config import environment_for
from rollbook.telemetry import traces
from tests import warm_process
from tests.faults.office import Office
from tests.faults.site import until
from tests.files import csv_file
from tests.integration.worker.test_worker import ended
from tests.ports import free_port
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

STAGES = {"read", "normalise", "validate", "match", "verify", "merge", "report"}
#: What a span has that says nothing of its work.
MADE_UP = {"traceId", "spanId", "parentSpanId", "startTimeUnixNano", "endTimeUnixNano"}
CALLER = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


class Collector(ThreadingHTTPServer):
    """What OpenTelemetry's collector is to us: it takes spans, and knows them by its own schema."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.faults: list[Exception] = []
        self.keys: set[str | None] = set()
        super().__init__(("127.0.0.1", 0), Taking)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, message: dict[str, Any]) -> None:
        for resource in message["resourceSpans"]:
            of = attributes(resource["resource"])
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.spans.append({**span, "of": of, "attributes": attributes(span)})
                    # In JSON, OTLP writes ids in hexadecimal where protobuf has base64.
                    for name in {"traceId", "spanId", "parentSpanId"} & set(span):
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
        parsed = ParseDict(message, ExportTraceServiceRequest())  # refuses what it doesn't know
        assert parsed.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano > 10**18


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.keys.add(self.headers["x-key"])
        try:
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/json")
            self.server.take(json.loads(body))
        except Exception as error:  # noqa: BLE001 - the test looks at each
            self.server.faults.append(error)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in of["attributes"]}


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


async def test_an_upload_is_one_trace_and_one_request_over_api_worker_and_child(
    system: System, settings: Settings, make_user: MakeUser, collector: Collector, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    environment = {
        **environment_for(settings.model_copy(update={"port": port, "log_level": "debug"})),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20secret",
    }
    user = await make_user()
    token = users.issue_token(settings, user)
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        said = stack.enter_context(log.open("wb"))
        processes = [
            stack.enter_context(
                warm_process.start(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            )
            for command in ("serve", "worker")
        ]
        for process in processes:
            stack.callback(process.kill)
        until(Office(url, token).answers, "the API answers")
        own_headers = {
            "Authorization": f"Bearer {token}",
            "X-Request-ID": "office-44",
            "traceparent": CALLER,
        }
        async with httpx.AsyncClient(
            base_url=url, headers=own_headers, timeout=PATIENCE_S
        ) as client:
            files = {"file": ("Nomvula.csv", csv_file(50))}
            answer = await client.post("/api/v1/bulk-upload/process", files=files)
        job_id = answer.json()["data"]["job_id"]
        assert (await ended(system, user, job_id))["status"] == "completed"
        for process in processes:
            process.terminate()  # what isn't sent yet is sent at the end
            process.wait(PATIENCE_S)

    assert collector.faults == []
    assert collector.keys == {"a secret"}
    own = [span for span in collector.spans if span["traceId"] == "ab" * 16]
    by_name = {span["name"]: span for span in own}
    assert len(by_name) == len(own)
    request = by_name.pop("POST /api/v1/bulk-upload/process")
    attempt = by_name["attempt"]
    assert request["parentSpanId"] == "cd" * 8
    assert (request["kind"], attempt["kind"]) == (traces.SERVER, traces.CONSUMER)
    assert request["attributes"]["http.response.status_code"] == "202"
    assert {request["of"]["rollbook.component"], attempt["of"]["rollbook.component"]} == {
        "api",
        "worker",
    }
    beneath = {"store file", "record upload", "queue upload", "wait in queue", "attempt"}
    assert set(by_name) == beneath | STAGES
    for name, span in by_name.items():
        above = request if name in beneath else attempt
        assert span["parentSpanId"] == above["spanId"], name
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    for name in STAGES:
        assert int(attempt["startTimeUnixNano"]) <= int(by_name[name]["startTimeUnixNano"])
        assert int(by_name[name]["endTimeUnixNano"]) <= int(attempt["endTimeUnixNano"])
    # Nothing of a member, a file's name or a user.
    # Random ids and times may have any four digits.
    said_of_each = [{k: v for k, v in span.items() if k not in MADE_UP} for span in collector.spans]
    everything = json.dumps(said_of_each)
    for private in ("Nomvula", user.email, token, "800101", "First", "Last"):
        assert private not in everything

    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    mine = [line for line in lines if line.get("request_id") == "office-44"]
    assert {line["component"] for line in mine} == {"api", "worker", "child"}
    events = {line["event"] for line in mine}
    assert {"request", "upload recorded", "attempt started", "attempt completed"} <= events
    assert {line.get("job_id") for line in mine if line["component"] == "worker"} == {job_id}


async def test_without_a_collector_no_span_is_made_and_nothing_is_kept(
    settings: Settings,
) -> None:
    with traces.span("work") as own:
        assert own is None
        assert traces.carried() is None
    traces.note("wait", 1, 2, parent=CALLER)
    assert traces._waiting is None
    assert settings.traces_address is None


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(settings: Settings) -> None:
    away = settings.model_copy(update={"otel_endpoint": "http://127.0.0.1:9"})
    async with traces.exported(away, "test"):
        for _ in range(traces.WAITING + 10):
            with traces.span("work"):
                pass
        assert traces._waiting is not None
        assert len(traces._waiting) <= traces.WAITING


@pytest.mark.parametrize(
    "wrong",
    [
        {"otel_endpoint": "http://127.0.0.1:99999"},
        {"otel_endpoint": "http://127.0.0.1:9", "otel_headers": SecretStr("key=\u00e9")},
    ],
)
async def test_a_collector_that_cannot_be_asked_is_said(
    settings: Settings, wrong: dict[str, Any]
) -> None:
    with capture_logs() as lines:
        async with traces.exported(settings.model_copy(update=wrong), "test"):
            with traces.span("work"):
                pass
    assert [line["event"] for line in lines] == ["trace export ended"]


async def test_who_asks_for_no_trace_gets_none_and_nonsense_begins_a_new_one(
    settings: Settings, collector: Collector
) -> None:
    on = settings.model_copy(update={"otel_traces_endpoint": f"{collector.url}/v1/traces"})
    async with traces.exported(on, "test"):
        with traces.span("not recorded", parent=CALLER.removesuffix("1") + "0"):
            pass
        with traces.span("new", parent="nonsense") as new, traces.span("within"):
            assert new is not None
        with pytest.raises(ValueError, match="its words"), traces.span("failed"):
            raise ValueError("its words quote a cell")
    found = {span["name"]: span for span in collector.spans}
    assert set(found) == {"new", "within", "failed"}
    assert "parentSpanId" not in found["new"]
    assert found["within"]["parentSpanId"] == found["new"]["spanId"]
    assert found["failed"]["status"] == {"code": 2, "message": "ValueError"}
    assert collector.faults == []
