"""The image and compose.yaml: well-formed, closed to what they don't need, and at one with us."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollbook.accounts import tokens
from rollbook.config import Settings
from tests.deploy.files import (
    ROOT,
    known_names,
    megabytes,
    needed_files,
    needed_mb,
    time_to_stop_s,
    tool,
    variables,
)
from tests.waiting import PATIENCE_S

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"migrate", "api", "worker", "watch"}
ONCE = {"migrate", "bucket", "backup", "backup-files"}


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run(
        [tool("hadolint"), str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_special_and_holds_only_what_is_locked() -> None:
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER (\d+):\d+$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    steps = DOCKERFILE.replace("\\\n", " ")
    installs = re.findall(r"pip (?:--python \S+ +)?install ([^&\n]+)", steps)
    assert len(installs) == 3
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-index" in arguments
    assert "pip install" not in last


def test_what_is_copied_into_the_image_is_there_and_nothing_else_is_let_in() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_compose_is_as_its_schema_has_it() -> None:
    done = subprocess.run(
        [
            tool("check-jsonschema"),
            "--builtin-schema",
            "vendor.compose-spec",
            str(ROOT / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert name in ONCE or "test" in service.get("healthcheck", {}) or name == "api"
    for port in service.get("ports", []):  # the API's own healthcheck is the image's
        assert port.startswith(("127.0.0.1:", "${ROLLBOOK_LISTEN:-127.0.0.1:")), port


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def test_only_what_must_reaches_the_data_and_nothing_there_reaches_out() -> None:
    assert all(COMPOSE["networks"][name]["internal"] for name in ("back", "watching"))
    for name in ("postgres", "valkey", "store", "bucket", "backup", "backup-files", "migrate"):
        assert networks(name) == {"back"}, name
    for name in ("proxy", "prometheus", "alertmanager", "grafana"):
        assert "back" not in networks(name), name


def test_the_proxy_alone_says_who_asks() -> None:
    address = SERVICES["proxy"]["networks"]["front"]["ipv4_address"]
    assert SERVICES["api"]["environment"]["FORWARDED_ALLOW_IPS"] == address
    [config] = COMPOSE["networks"]["front"]["ipam"]["config"]
    default = re.compile(r"\$\{\w+:-(.+)\}")
    proxy, subnet, others = (
        default.fullmatch(text)[1]  # type: ignore[index]
        for text in (address, config["subnet"], config["ip_range"])
    )
    assert ip_address(proxy) in ip_network(subnet)
    assert ip_address(proxy) not in ip_network(others)  # from which the others get theirs


def test_no_secret_is_on_a_command_line() -> None:
    secrets = re.compile(r"PASSWORD|SECRET|_KEY\b")
    for name, service in SERVICES.items():
        words = service.get("command", [])
        text = " ".join(words) if isinstance(words, list) else words
        for found in secrets.finditer(text):
            # There is no standard input, but the content of a here document.
            assert "<<END" in text[: found.start()], name


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_limit_of_memory_and_processes(name: str) -> None:
    assert SERVICES[name]["mem_limit"]
    assert SERVICES[name]["pids_limit"]


def test_the_larger_sizes_are_ones_that_the_file_has() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for name in variables(ROOT / "deploy" / "compose" / "large.env"):
        assert f"${{{name}:-" in text


def test_postgresql_has_room_beside_its_buffers() -> None:
    """A quarter of its memory, as docs/how-to/own-engines.md advises."""
    defaults = dict(re.findall(r"\$\{(ROLLBOOK_POSTGRES_\w+):-(\w+)\}", yaml.safe_dump(COMPOSE)))
    for sizes in (defaults, variables(ROOT / "deploy" / "compose" / "large.env")):
        memory, buffers = (
            megabytes(sizes[f"ROLLBOOK_POSTGRES_{name}"]) for name in ("MEMORY", "BUFFERS")
        )
        assert buffers == memory / 4


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_process_has_room_for_all_of_its_children(name: str) -> None:
    large = variables(ROOT / "deploy" / "compose" / "large.env")
    found = re.fullmatch(r"\$\{(\w+):-(\w+)\}", SERVICES[name]["mem_limit"])
    assert found
    for size in (found[2], large[found[1]]):
        assert megabytes(size) >= needed_mb(name)


def test_an_api_may_have_as_many_connections_as_it_allows() -> None:
    assert SERVICES["api"]["ulimits"]["nofile"] >= needed_files()


def test_our_processes_are_told_nothing_that_they_do_not_know() -> None:
    for name in OURS:
        assert set(SERVICES[name]["environment"]) <= known_names()
        seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert seconds >= time_to_stop_s()
    assert SERVICES["api"]["deploy"]["replicas"] == SERVICES["worker"]["deploy"]["replicas"] == 2


def test_nobody_starts_before_the_schema_and_the_bucket_are_there() -> None:
    for name in OURS - {"migrate"}:
        waits = SERVICES[name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully"
        assert waits["bucket"]["condition"] == "service_completed_successfully"


def test_every_file_that_is_mounted_is_part_of_the_project() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"]


def test_the_secrets_are_made_up_once_and_fit_together(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    script = [
        "sh",
        str(ROOT / "deploy" / "compose" / "secrets.sh"),
        str(folder),
    ]
    subprocess.run(script, check=True, capture_output=True, timeout=PATIENCE_S)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    named = {
        Path(file).name for service in SERVICES.values() for file in service.get("env_file", [])
    }
    assert named | set(COMPOSE["secrets"]) == set(made)
    assert folder.stat().st_mode & 0o077 == 0
    ours = variables(folder / "rollbook.env")
    assert set(ours) <= known_names()
    settings = Settings(_env_file=folder / "rollbook.env")
    assert len(tokens.signing_key(settings)) >= 32
    assert variables(folder / "postgres.env")["POSTGRES_PASSWORD"] in settings.database_address
    assert variables(folder / "valkey.env")["VALKEY_PASSWORD"] in settings.redis_address
    [identity] = yaml.safe_load(made["store.json"])["identities"]
    assert identity["credentials"] == [
        {"accessKey": ours["AWS_ACCESS_KEY_ID"], "secretKey": ours["AWS_SECRET_ACCESS_KEY"]}
    ]
    subprocess.run(script, check=True, capture_output=True, timeout=PATIENCE_S)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_prometheus_looks_where_our_processes_answer() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text())
    asked = {
        (name, found["port"])
        for job in config["scrape_configs"]
        for found in job["dns_sd_configs"]
        for name in found["names"]
    }
    port = int(SERVICES["worker"]["environment"]["ROLLBOOK_METRICS_PORT"])
    assert asked == {("api", 8000), ("worker", port), ("watch", port)}
