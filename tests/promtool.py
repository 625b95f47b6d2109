"""What Prometheus' ``promtool check`` says, from itself where it is installed, else from a copy.

The copy holds the rules of ``promtool`` that our figures, rules and queries can break
(https://github.com/prometheus/client_golang/tree/main/prometheus/testutil/promlint). Where the
tool is installed, ``tests/gate/test_promtool.py`` compares the two.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Debian's package ``prometheus`` has it.
PROMTOOL = shutil.which("promtool")

_ABBREVIATED = frozenset(
    {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"}
)
_BASE_UNITS = {
    **dict.fromkeys(("milliseconds", "microseconds", "minutes", "hours", "days"), "seconds"),
    **dict.fromkeys(("kilobytes", "megabytes", "gigabytes", "bits"), "bytes"),
}
_TYPES = ("counter", "gauge", "histogram", "summary")
_CAMEL = re.compile(r"[a-z][A-Z]")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_OF_ALERTS = frozenset({"alert", "for", "keep_firing_for", "annotations"})
_DURATION = re.compile(r"(\d+(ms|[smhdwy]))+")


def complaints_of_metrics(text: str) -> list[str]:
    """The complaints about a text of metrics, each ``NAME SENTENCE``."""
    if PROMTOOL is None:
        return copied_complaints_of_metrics(text)
    return _promtool("metrics", text=text)


def complaints_of_rules(*files: Path) -> list[str]:
    """The complaints about files of rules; empty where every rule and query is right."""
    if PROMTOOL is None:
        return copied_complaints_of_rules(*files)
    return _promtool("rules", *files)


def _promtool(kind: str, *files: Path, text: str | None = None) -> list[str]:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", kind, *map(str, files)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return [line for line in done.stderr.splitlines() if line] if done.returncode else []


def copied_complaints_of_metrics(text: str) -> list[str]:
    """As ``complaints_of_metrics``, without the tool."""
    return sorted(
        f"{name} {sentence}"
        for name, kind, about, labels in _metrics(text)
        for sentence in _complaints(name, kind, about, labels)
    )


def _metrics(text: str) -> Iterator[tuple[str, str, str, set[str]]]:
    """The name, type, help and labels of each metric; our parser cuts ``_total`` off."""
    declared = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))
    helped = dict(re.findall(r"(?m)^# HELP (\S+) (.+)$", text))
    labels: dict[str, set[str]] = {name: set() for name in declared}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            part = re.sub(r"_(bucket|count|sum|total)$", "", sample.name)
            name = sample.name if sample.name in declared or part not in declared else part
            own = {"le"} if declared.get(name) == "histogram" else set()
            labels.setdefault(name, set()).update(sample.labels.keys() - own)
    for name, named in labels.items():
        yield name, declared.get(name, "untyped"), helped.get(name, ""), named


def _complaints(name: str, kind: str, about: str, labels: set[str]) -> Iterator[str]:
    if not about:
        yield "no help text"
    if kind != "untyped":
        yield from _of_type(name, kind)
        yield from _reserved(name, kind, labels)
    if any(_CAMEL.search(label) for label in labels):
        yield "label names should be written in 'snake_case' not 'camelCase'"
    yield from _of_name(name)


def _of_type(name: str, kind: str) -> Iterator[str]:
    if kind == "counter" and not name.endswith("_total"):
        yield 'counter metrics should have "_total" suffix'
    if kind != "counter" and name.endswith("_total"):
        yield 'non-counter metrics should not have "_total" suffix'
    for type_ in _TYPES:
        if type_ in name.split("_"):
            yield f"metric name should not include type '{type_}'"


def _of_name(name: str) -> Iterator[str]:
    words = name.split("_")
    if ":" in name:
        yield "metric names should not contain ':'"
    if _CAMEL.search(name):
        yield "metric names should be written in 'snake_case' not 'camelCase'"
    if _ABBREVIATED.intersection(words):
        yield "metric names should not contain abbreviated units"
    for unit, base in _BASE_UNITS.items():
        if unit in words:
            yield f'use base unit "{base}" instead of "{unit}"'


def _reserved(name: str, kind: str, labels: set[str]) -> Iterator[str]:
    if kind != "histogram":
        if name.endswith("_bucket"):
            yield 'non-histogram metrics should not have "_bucket" suffix'
        if "le" in labels:
            yield 'non-histogram metrics should not have "le" label'
    if kind not in {"histogram", "summary"}:
        for suffix in ("_count", "_sum"):
            if name.endswith(suffix):
                yield f'non-histogram and non-summary metrics should not have "{suffix}" suffix'
    if kind != "summary" and "quantile" in labels:
        yield 'non-summary metrics should not have "quantile" label'


def copied_complaints_of_rules(*files: Path) -> list[str]:
    """As ``complaints_of_rules``, without the tool."""
    return [
        f"{file.name}: {sentence}"
        for file in files
        for sentence in _complaints_of_groups(yaml.safe_load(file.read_text(encoding="utf-8")))
    ]


def _complaints_of_groups(content: Any) -> Iterator[str]:
    if not isinstance(content, dict) or content.keys() != {"groups"}:
        yield "a file of rules has groups and nothing else"
        return
    names = [group.get("name") for group in content["groups"]]
    if None in names or len(set(names)) < len(names):
        yield "each group has a name of its own"
    for group in content["groups"]:
        if unknown := group.keys() - {"name", "interval", "limit", "labels", "rules"}:
            yield f"unknown fields of a group: {sorted(unknown)}"
        seen = []
        for rule in group.get("rules", []):
            yield from _complaints_of_rule(rule)
            seen.append((rule.get("alert"), rule.get("record"), rule.get("labels")))
        if any(seen.count(one) > 1 for one in seen):
            yield "two rules of a group have the same name and labels"


def _complaints_of_rule(rule: dict[str, Any]) -> Iterator[str]:
    if unknown := rule.keys() - _OF_ALERTS - {"record", "expr", "labels"}:
        yield f"unknown fields of a rule: {sorted(unknown)}"
    if ("alert" in rule) == ("record" in rule):
        yield "a rule has either an alert or a record"
    if "record" in rule and rule.keys() & _OF_ALERTS:
        yield "a rule that records has no fields of an alert"
    if not _NAME.fullmatch(str(rule.get("record", "none"))):
        yield f"no name of a metric: {rule['record']}"
    for duration in (rule.get("for", "1m"), rule.get("keep_firing_for", "1m")):
        if not _DURATION.fullmatch(str(duration)):
            yield f"no duration: {duration}"
    for text in rule.get("annotations", {}).values():
        if str(text).count("{{") != str(text).count("}}"):
            yield f"a template that isn't closed: {text}"
    if (wrong := _wrong_query(rule.get("expr"))) is not None:
        yield wrong


def _wrong_query(query: object) -> str | None:
    try:
        promql_parser.parse(str(query or ""))
    except ValueError as error:
        return f"no query: {query}: {error}"
    return None
