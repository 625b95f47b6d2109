"""What an operator sees of a running system: metrics, probes, request ids."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import runpy
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import httpx
import pytest
import structlog
import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog._config import BoundLoggerLazyProxy

from rollbook.accounts import users
from rollbook.api import gauges
from rollbook.errors import ConfigurationError
from rollbook.model import Role
from rollbook.service import exposition
from rollbook.service.system import open_system
from rollbook.telemetry import metrics
from tests.conftest import PASSWORD
from tests.files import csv_file
from tests.integration.worker.test_worker import ended, working
from tests.promtool import complaints_of_metrics, complaints_of_rules
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

ROOT = Path(__file__).parents[3]


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The figures of a text, by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    """One figure, or 0 where there is none of these labels."""
    return samples(text).get(name, {}).get(tuple(sorted(labels.items())), 0.0)


async def upload(api: httpx.AsyncClient, user: User, rows: int, **headers: str) -> httpx.Response:
    credentials = {"email": user.email, "password": PASSWORD}
    login = await api.post("/api/v1/auth/login", json=credentials)
    token = login.json()["data"]["token"]
    return await api.post(
        "/api/v1/bulk-upload/process",
        files={"file": ("members.csv", csv_file(rows))},
        headers={"Authorization": f"Bearer {token}", **headers},
    )


@pytest.fixture
def patient_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is slow on a busy machine isn't away."""
    monkeypatch.setattr(gauges, "PATIENCE_S", PATIENCE_S)


@pytest.mark.usefixtures("patient_gauges")
async def test_one_upload_moves_every_figure_that_the_dashboard_and_the_alerts_use(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    before = (await api.get("/metrics")).text
    async with working(system) as worker:
        answer = await upload(api, user, 60)
        job_id = answer.json()["data"]["job_id"]
        await ended(system, user, job_id)
        worker.slots.measure()
        after = (await api.get("/metrics")).text

    def grown(name: str, **labels: str) -> float:
        labels["component"] = "api"  # all in this one process
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("rollbook_jobs_total", result="completed") == 1
    assert grown("rollbook_attempts_total", result="completed") == 1
    assert grown("rollbook_rows_total", outcome="inserted") == 60
    assert grown("rollbook_uploads_recorded_total", kind="csv") == 1
    assert grown("rollbook_attempt_duration_seconds_count", result="completed") == 1
    assert grown("rollbook_job_wait_seconds_count") == 1
    for stage in ("read", "normalise", "validate", "match", "verify", "merge", "report"):
        assert grown("rollbook_stage_duration_seconds_count", stage=stage) == 1
    route = {"method": "POST", "route": "/api/v1/bulk-upload/process"}
    assert grown("rollbook_http_requests_total", status="202", **route) == 1
    assert value(after, "rollbook_slots", component="api") == 1
    assert value(after, "rollbook_child_memory_bytes", component="api", slot="0") > 1e6
    assert value(after, "rollbook_up", part="postgresql") == 1
    assert value(after, "rollbook_up", part="redis") == 1
    # Neither an id nor a path of a user's is a label of anything.
    assert job_id not in after
    assert user.email not in after
    _check_text(after)
    shown = {family.name for family in text_string_to_metric_families(after)}
    quiet = {name for name in described() if name.startswith("rollbook_voter_roll_budget")}
    assert {name.removesuffix("_total") for name in described()} - shown == quiet


async def test_an_unknown_path_is_counted_under_no_name_of_its_own(api: httpx.AsyncClient) -> None:
    await api.get("/8001015009087")
    await api.get("/api/v1/bulk-upload/status/00000000-0000-4000-8000-000000000000")
    await api.request("8001015009087", "/healthz")
    text = (await api.get("/metrics")).text
    assert "8001015009087" not in text
    assert "00000000-0000" not in text
    status = {"method": "GET", "route": "/api/v1/bulk-upload/status/{job_id}", "status": "401"}
    assert value(text, "rollbook_http_requests_total", component="api", **status) > 0


async def test_a_scrape_succeeds_while_both_engines_are_away_and_says_so(
    settings: Settings,
) -> None:
    away = settings.model_copy(
        update={
            "database_url": SecretStr("postgresql://127.0.0.1:9/none"),
            "redis_url": SecretStr("redis://127.0.0.1:9/0"),
        }
    )
    async with open_system(away) as system:
        text = exposition.text("api", await gauges.Gauges(system).families()).decode()
    assert samples(text)["rollbook_up"] == {
        (("part", "postgresql"),): 0.0,
        (("part", "redis"),): 0.0,
    }
    assert "rollbook_queue_jobs" not in text


@pytest.mark.usefixtures("patient_gauges")
async def test_the_shared_figures_are_those_of_record_and_queue(
    system: System, api: httpx.AsyncClient, make_user: MakeUser
) -> None:
    assert (await upload(api, await make_user(Role.NATIONAL_ADMIN), 3)).status_code == 202
    found = await gauges.Gauges(system).families()
    text = exposition.text("api", found).decode()
    assert value(text, "rollbook_queue_jobs", state="waiting") == 1
    assert value(text, "rollbook_uploads", status="pending") == 1
    assert value(text, "rollbook_oldest_waiting_seconds") > 0
    assert {family.name for family in found} <= set(gauges.FAMILIES)
    _check_text(text)


@pytest.mark.usefixtures("patient_gauges")
async def test_a_session_that_waits_for_a_lock_and_the_pools_are_shown(system: System) -> None:
    async def waits() -> float:
        text = exposition.text("api", await gauges.Gauges(system).families()).decode()
        return value(text, "rollbook_lock_waits") and value(text, "rollbook_lock_wait_seconds")

    assert await waits() == 0
    async with system.pool.connection() as first, system.pool.connection() as second:
        await first.execute("LOCK members IN ACCESS EXCLUSIVE MODE")
        blocked = asyncio.create_task(second.execute("SELECT FROM members"))
        async with asyncio.timeout(PATIENCE_S):
            while not await waits():
                pass  # each look is a query
        await first.rollback()
        await asyncio.wait_for(blocked, PATIENCE_S)
        text = exposition.text("api").decode()
        at_once = {"component": "api", "pool": "main"}
        size = value(text, "rollbook_database_connections", state="open", **at_once)
        idle = value(text, "rollbook_database_connections", state="idle", **at_once)
        assert size - idle >= 2
        assert value(text, "rollbook_database_connections_max", **at_once) == 10


@contextlib.asynccontextmanager
async def small_server(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """The metrics server of a worker, and a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    async with (
        exposition.served(system, "worker", listener),
        httpx.AsyncClient(
            base_url=f"http://{host}:{port}", trust_env=False, timeout=PATIENCE_S
        ) as client,
    ):
        yield client


async def test_a_worker_answers_metrics_and_probes_on_a_port_of_its_own(system: System) -> None:
    async with small_server(system) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["redis"]) == (200, "ok")
        text = (await client.get("/metrics?x=1")).text
        assert 'rollbook_build_info{component="worker"' in text
        _check_text(text)
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/healthz", content=b"a body")).status_code == 200


async def test_nonsense_on_that_port_harms_nobody(system: System) -> None:
    async with small_server(system) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert (await client.get("/healthz")).is_success


async def test_a_port_that_is_taken_is_said_in_a_sentence(system: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = system.settings.model_copy(update={"metrics_port": taken.getsockname()[1]})
        async with open_system(settings) as other:
            with pytest.raises(ConfigurationError, match="a port of its own"):
                async with exposition.served(other, "worker"):
                    pass


async def test_with_a_token_set_metrics_are_for_its_bearer_alone(
    settings: Settings,
) -> None:
    locked = settings.model_copy(update={"metrics_token": SecretStr("the right one")})
    async with open_system(locked) as own, small_server(own) as client:
        assert (await client.get("/metrics")).status_code == 401
        wrong = {"Authorization": "Bearer the wrong one"}
        assert (await client.get("/metrics", headers=wrong)).status_code == 401
        right = {"Authorization": "Bearer the right one"}
        assert (await client.get("/metrics", headers=right)).status_code == 200
        assert (await client.get("/readyz")).status_code == 200  # probes reveal nothing


# --- request ids ------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, with what is bound to it."""
    found: list[dict[str, Any]] = []

    def keep(_: object, level: str, event: MutableMapping[str, Any]) -> NoReturn:
        found.append({**event, "level": level})
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    # A logger that was used while a test had the log of production keeps that configuration.
    for module in [one for name, one in sys.modules.items() if name.startswith("rollbook.")]:
        if isinstance(logger := vars(module).get("log"), BoundLoggerLazyProxy):
            vars(logger).pop("bind", None)
    yield found
    structlog.configure(**before)


async def test_the_answer_names_the_request_by_the_sender_s_id_or_a_new_one(
    api: httpx.AsyncClient,
) -> None:
    given = await api.get("/healthz", headers={"X-Request-ID": "office-42.a"})
    assert given.headers.get_list("x-request-id") == ["office-42.a"]
    for bad in ("", "a b", "x" * 65, "8001015009087", "lid-8001015009087", 'a"b', "é"):
        made = await api.get("/healthz", headers={b"X-Request-ID": bad.encode()})
        # Of the form that isn't masked, so that the log has it as the sender does.
        assert UUID(made.headers["x-request-id"]).version == 4
    refused = await api.get("/api/v1/auth/me", headers={"X-Request-ID": "refused-1"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (401, "refused-1")


async def test_a_fault_of_ours_is_answered_and_logged_with_the_request_s_id(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    async def fault(*_: object, **__: object) -> None:
        raise RuntimeError("quoting a cell")

    monkeypatch.setattr(users, "sign_in", fault)
    answer = await api.post(
        "/api/v1/auth/login",
        json={"email": "a@example.org", "password": "x"},
        headers={"X-Request-ID": "fault-1"},
    )
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "fault-1")
    [line] = [line for line in lines if line["event"] == "request failed"]
    assert line["request_id"] == "fault-1"


async def test_an_upload_keeps_the_id_of_its_request_and_its_job_holds_ids_alone(
    api: httpx.AsyncClient, system: System, make_user: MakeUser, lines: list[dict[str, Any]]
) -> None:
    user = await make_user()
    answer = await upload(api, user, 5, **{"X-Request-ID": "office-43"})
    job_id = answer.json()["data"]["job_id"]
    job = await system.queue.job(job_id)
    assert job is not None
    assert job.data == {"upload_id": job_id}
    # The queue has lost all, and a worker finds the request by the record.
    async with working(system):
        await job_event(system.settings, job_id, "completed")
    done = [line for line in lines if line["event"] == "attempt completed"]
    assert [line["request_id"] for line in done] == ["office-43"]
    recorded = [line for line in lines if line["event"] == "upload recorded"]
    assert [line["request_id"] for line in recorded] == ["office-43"]


# --- files that operators take from here -------------------------------------------------------


def _check_text(text: str) -> None:
    """Prometheus' own linter has nothing to say of our figures."""
    complaints = complaints_of_metrics(text)
    # The figures of the Python runtime aren't ours to name.
    assert [line for line in complaints if line.startswith("rollbook_")] == []


def described() -> dict[str, tuple[str, frozenset[str], str]]:
    """Every metric of ours: kind, labels and what it is, by the name that queries use."""
    found = {
        name: ("gauge", frozenset(labels), about)
        for name, (labels, about) in gauges.FAMILIES.items()
    }
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            name = f"{metric._name}_total" if isinstance(metric, Counter) else metric._name
            labels = frozenset(metric._labelnames)
            found[name] = (metric._type, labels, metric._documentation)
    return found


def series() -> dict[str, frozenset[str]]:
    """The labels of every series that a query can name."""
    found: dict[str, frozenset[str]] = {}
    for name, (kind, labels, _) in described().items():
        if kind == "histogram":
            found |= {f"{name}_{part}": labels for part in ("sum", "count")}
            found[f"{name}_bucket"] = labels | {"le"}
        else:
            found[name] = labels
    process = ("resident_memory_bytes", "open_fds", "max_fds", "cpu_seconds_total")
    return found | {f"process_{name}": frozenset() for name in process}


def _expressions() -> Iterator[str]:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    for group in rules["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    dashboard = json.loads((ROOT / "deploy/grafana/rollbook.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_each_query_of_dashboard_and_alerts_names_metrics_and_labels_that_there_are() -> None:
    known = series()
    expressions = list(_expressions())
    assert len(expressions) > 50
    used = set()
    for expression in expressions:
        names = set(re.findall(r"\b(?:rollbook|process)_\w+", expression))
        assert names, expression
        assert names <= set(known), expression
        used |= names
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        for group in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression):
            labels |= {label.strip() for label in group.split(",")}
        its = frozenset[str]().union(*(known[name] for name in names))
        assert labels <= its | {"component", "instance"}, expression
    # Nearly all that is counted is looked at: what nobody draws is listed here, on purpose.
    drawn = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert set(described()) - drawn == {
        "rollbook_children_started_total",
        "rollbook_folder_files_waiting",
        "rollbook_http_requests_in_progress",
        "rollbook_queue_events_total",
        "rollbook_slots",
        "rollbook_slots_in_use",
        "rollbook_uploads",
    }


def test_the_dashboard_is_what_its_program_writes() -> None:
    program = runpy.run_path(str(ROOT / "deploy/grafana/make.py"))
    kept = json.loads((ROOT / "deploy/grafana/rollbook.json").read_text())
    assert kept == program["dashboard"]()


def test_prometheus_own_tool_takes_the_rules_and_every_query_of_the_dashboard(
    tmp_path: Path,
) -> None:
    rules = ROOT / "deploy/prometheus/alerts.yml"
    queries = [query.replace("$__rate_interval", "5m") for query in _expressions()]
    drawn = tmp_path / "dashboard.yaml"
    recording = [{"record": f"query_{i}", "expr": query} for i, query in enumerate(queries)]
    drawn.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recording}]}))
    assert complaints_of_rules(rules, drawn) == []


def test_the_reference_lists_every_metric_with_its_kind_and_labels() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    row = r"^\| `(rollbook_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$"
    listed = re.findall(row, page, re.MULTILINE)
    assert {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), about)
        for name, kind, labels, about in listed
    } == described()
