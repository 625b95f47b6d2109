"""No secret is in the repository: what looks like one is found, in every file that Git tracks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Keys as those who give them out write them, and the two forms in which anybody's are kept.
#: A search that begins with a boundary looks at each letter: only texts with a mark are searched.
MARKS = {
    "a private key": ("PRIVATE KEY",),
    "a key of AWS": ("AKIA", "ASIA"),
    "a key of Google": ("AIza",),
    "a token of GitHub": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    "a token of GitLab": ("glpat-",),
    "a token of PyPI": ("pypi-",),
    "a token of Slack": ("xoxa", "xoxb", "xoxp", "xoxr", "xoxs"),
    "a key of Stripe": ("k_live_",),
    "a token": ("eyJ",),
    "a password in an address": ("://",),
}
PATTERNS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]{32}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of GitHub": r"\bgh[pousr]_[0-9A-Za-z]{36}\b|\bgithub_pat_[0-9A-Za-z_]{50}",
    "a token of GitLab": r"\bglpat-[0-9A-Za-z_-]{20}\b",
    "a token of PyPI": r"\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{40}",
    "a token of Slack": r"\bxox[abprs]-[0-9A-Za-z-]{20}",
    "a key of Stripe": r"\b[rs]k_live_[0-9A-Za-z]{20}",
    "a token": r"\beyJ[0-9A-Za-z_-]{15,}\.eyJ[0-9A-Za-z_-]{15,}\.[0-9A-Za-z_-]{20,}",
    "a password in an address": r"\b(?:postgres(?:ql)?|rediss?|https?)://[\w.-]*:[^\s@/:{}<>*%]{12,}@",
}


def found_in(text: str) -> set[str]:
    return {
        what
        for what, pattern in PATTERNS.items()
        if any(mark in text for mark in MARKS[what]) and re.search(pattern, text)
    }


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIE" * 10),
        ("a key of AWS", "AKIA" + "ABCDEFGH12345678"),
        ("a key of Google", "AIza" + "a1B2c" * 7),
        ("a token of GitHub", "ghp_" + "a1B2" * 9),
        ("a token of GitHub", "github_pat_" + "a1B2_" * 10),
        ("a token of GitLab", "glpat-" + "a1B2" * 5),
        ("a token of PyPI", "pypi-" + "AgEIcHlwaS5vcmc" + "a1B2" * 10),
        ("a token of Slack", "xoxb-" + "a1B2" * 5),
        ("a key of Stripe", "sk_live_" + "a1B2" * 5),
        ("a token", "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 43),
        ("a password in an address", "postgresql://rollbook" + ":Zx81-not-for-you@db/rollbook"),
    ],
)
def test_what_looks_like_a_secret_is_found(what: str, text: str) -> None:
    assert found_in(text) == {what}


def test_no_tracked_file_holds_what_looks_like_a_secret() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if listed.returncode:
        pytest.skip("This is no clone of the repository, so there is nothing that Git tracks.")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(paths) > 200
    texts = {path: path.read_bytes().decode("latin-1") for path in paths if path.is_file()}
    assert {str(path): found for path, text in texts.items() if (found := found_in(text))} == {}
    names = {path.name for path in paths}
    assert not names & {".env", "secret.key", "id_rsa", "id_ed25519"}
