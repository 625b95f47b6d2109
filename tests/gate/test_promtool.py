"""The copy of promtool's rules finds what promtool finds, and lets be what it lets be."""

from __future__ import annotations

import re
from itertools import chain
from string import ascii_lowercase
from typing import TYPE_CHECKING

import pytest

from tests import promtool

if TYPE_CHECKING:
    from pathlib import Path

needs_promtool = pytest.mark.skipif(
    promtool.PROMTOOL is None, reason="promtool isn't installed (Debian: prometheus)"
)

METRICS = [
    "# HELP a_seconds A.\n# TYPE a_seconds gauge\na_seconds 1\n",
    "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n",
    '# HELP a A.\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_count 1\na_sum 1\n',
    '# HELP a A.\n# TYPE a summary\na{quantile="0.5"} 1\na_count 1\na_sum 1\n',
    "# TYPE a gauge\na 1\n",
    "# HELP a A.\n# TYPE a counter\na 1\n",
    "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
    "# HELP a_requestsDone A.\n# TYPE a_requestsDone gauge\na_requestsDone 1\n",
    '# HELP a A.\n# TYPE a gauge\na{isOn="1"} 1\n',
    "# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n",
    "# HELP a_milliseconds A.\n# TYPE a_milliseconds gauge\na_milliseconds 1\n",
    "# HELP a_megabytes A.\n# TYPE a_megabytes gauge\na_megabytes 1\n",
    "# HELP a_hours_waited A.\n# TYPE a_hours_waited gauge\na_hours_waited 1\n",
    "# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1\n",
    "# HELP a:b A.\n# TYPE a:b gauge\na:b 1\n",
    "# HELP a_bucket A.\n# TYPE a_bucket gauge\na_bucket 1\n",
    "# HELP a_count A.\n# TYPE a_count gauge\na_count 1\n",
    "# HELP a_sum A.\n# TYPE a_sum gauge\na_sum 1\n",
    '# HELP a A.\n# TYPE a gauge\na{le="1",quantile="1"} 1\n',
]
RULES = {
    "right": "groups: [{name: a, rules: [{alert: A, expr: 'up == 0', for: 5m}]}]",
    "records": "groups: [{name: a, rules: [{record: 'a:b', expr: 'sum by (job) (rate(x[5m]))'}]}]",
    "no query": "groups: [{name: a, rules: [{alert: A, expr: 'sum(rate(x[5m])'}]}]",
    "no function": "groups: [{name: a, rules: [{alert: A, expr: 'nothing(x)'}]}]",
    "no range": "groups: [{name: a, rules: [{alert: A, expr: 'rate(x)'}]}]",
    "empty query": "groups: [{name: a, rules: [{alert: A, expr: ''}]}]",
    "no duration": "groups: [{name: a, rules: [{alert: A, expr: up, for: soon}]}]",
    "both": "groups: [{name: a, rules: [{alert: A, record: b, expr: up}]}]",
    "neither": "groups: [{name: a, rules: [{expr: up}]}]",
    "records for": "groups: [{name: a, rules: [{record: b, expr: up, for: 5m}]}]",
    "no name": "groups: [{rules: []}]",
    "one name twice": "groups: [{name: a, rules: []}, {name: a, rules: []}]",
    "unknown field": "groups: [{name: a, rules: [{alert: A, expr: up, severity: high}]}]",
    "unknown part": "groups: []\nalerts: []",
    "open": "groups: [{name: a, rules: [{alert: A, expr: up, annotations: {a: '{{ $v'}}]}]",
}


def test_the_copy_lets_good_metrics_be_and_finds_bad_ones() -> None:
    found = [promtool.copied_complaints_of_metrics(text) for text in METRICS]
    assert [bool(complaints) for complaints in found] == [False] * 4 + [True] * 15


@needs_promtool
def test_of_metrics_the_copy_says_what_promtool_says() -> None:
    # Each gets a name of its own, so that promtool starts once.
    texts = [
        re.sub(r"\ba(?=[ _:{])", f"a{letter}", text)
        for letter, text in zip(ascii_lowercase[: len(METRICS)], METRICS, strict=True)
    ]
    copied = [promtool.copied_complaints_of_metrics(text) for text in texts]
    assert sorted(promtool.complaints_of_metrics("".join(texts))) == sorted(chain(*copied))


@pytest.mark.parametrize("name", RULES)
def test_the_copy_finds_what_is_wrong_with_rules(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULES[name], encoding="utf-8")
    is_right = name in {"right", "records"}
    assert (promtool.copied_complaints_of_rules(file) == []) is is_right


@needs_promtool
def test_of_rules_promtool_refuses_what_the_copy_refuses(tmp_path: Path) -> None:
    files = {tmp_path / f"{name}.yml": text for name, text in RULES.items()}
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    complaints = promtool.complaints_of_rules(*files)
    refused = {file.stem for file in files if any(str(file) in line for line in complaints)}
    assert refused == {file.stem for file in files if promtool.copied_complaints_of_rules(file)}
