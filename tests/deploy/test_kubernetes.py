"""The manifests: as their schemas have them, and at one with our settings."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.deploy.files import (
    DEPLOY,
    ROOT,
    documents,
    known_names,
    megabytes,
    needed_mb,
    time_to_stop_s,
    variables,
)
from tests.waiting import PATIENCE_S

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.31", "1.37")
SETTINGS = variables(FOLDER / "settings.env")
#: Kinds that others define.
CUSTOM = {"ScaledObject", "ServiceMonitor", "PodMonitor"}
FOUND = [
    document
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in documents(path)
]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [document for document in FOUND if document["kind"] in kinds]


def named(document: dict[str, Any]) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
def test_each_object_is_as_kubernetes_has_it(version: str) -> None:
    for document in FOUND:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_scaling_is_as_keda_has_it_and_follows_both_kinds_of_waiting() -> None:
    schema = json.loads((ROOT / "tests/deploy/keda-scaledobject.schema.json").read_text())
    [scaled] = of_kind("ScaledObject")
    Draft202012Validator(schema).validate(scaled)
    assert scaled["spec"]["scaleTargetRef"]["name"] == "worker"
    [worker] = [found for found in of_kind("Deployment") if named(found) == "Deployment/worker"]
    # A number here would be set back at each apply.
    assert "replicas" not in worker["spec"]
    [trigger] = scaled["spec"]["triggers"]
    assert 'rollbook_queue_jobs{state=~"waiting|active"}' in trigger["metadata"]["query"]


@pytest.mark.parametrize("workload", of_kind("Deployment", "Job"), ids=named)
def test_a_pod_is_closed_and_gets_its_time_to_stop(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    if workload["kind"] == "Job":
        return
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    # A part that is away makes a process unready; it doesn't get it killed.
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    grace = int(SETTINGS["ROLLBOOK_SHUTDOWN_GRACE_S"])
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] >= time_to_stop_s(grace) + before


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_process_has_room_for_all_of_its_children(name: str) -> None:
    [found] = [one for one in of_kind("Deployment") if named(one) == f"Deployment/{name}"]
    [container] = found["spec"]["template"]["spec"]["containers"]
    limit = megabytes(container["resources"]["limits"]["memory"])
    assert limit >= needed_mb(name, SETTINGS)


def test_every_deployment_survives_the_loss_of_a_node() -> None:
    guarded = {
        json.dumps(found["spec"]["selector"]["matchLabels"], sort_keys=True)
        for found in of_kind("PodDisruptionBudget")
    }
    for found in of_kind("Deployment"):
        assert json.dumps(found["spec"]["selector"]["matchLabels"], sort_keys=True) in guarded


def test_every_process_is_watched_at_a_port_that_it_has() -> None:
    pods = {
        named(found): (found["spec"]["template"]["metadata"]["labels"], port["name"])
        for found in of_kind("Deployment")
        for port in found["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    watched = set()
    for monitor in of_kind("ServiceMonitor", "PodMonitor"):
        spec = monitor["spec"]
        [end] = spec.get("endpoints") or spec["podMetricsEndpoints"]
        wanted = spec["selector"]["matchLabels"]
        among = {
            rule["key"]: rule["values"] for rule in spec["selector"].get("matchExpressions", [])
        }
        watched |= {
            name
            for name, (labels, port) in pods.items()
            if wanted.items() <= labels.items()
            and all(labels[key] in values for key, values in among.items())
            and port == end["port"]
        }
    assert watched == set(pods)
    [service] = of_kind("Service")  # a ServiceMonitor finds services by their own labels
    assert service["metadata"]["labels"] == service["spec"]["selector"]


def test_connections_go_only_where_they_must() -> None:
    [policy] = of_kind("NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert {53, 443, 5432, 6379} <= ports


def test_the_settings_are_ones_that_we_read() -> None:
    assert set(SETTINGS) <= known_names()
    assert set(variables(FOLDER / "secret.example.env")) <= known_names()


def test_the_folder_builds_into_one_whole(tmp_path: Any) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl isn't installed (kubernetes.io/docs/tasks/tools)")
    copy = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    shutil.copy(copy / "secret.example.env", copy / "secret.env")
    built = subprocess.run(
        [kubectl, "kustomize", str(copy)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    ).stdout
    kinds = [document["kind"] for document in yaml.safe_load_all(built)]
    assert sorted(kinds) == sorted([*(found["kind"] for found in FOUND), "ConfigMap", "Secret"])
    assert "image: rollbook\n" not in built
