"""The Markdown table, from numbers alone."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from . import table
from .scoring import KINDS, Test
from .suite import CHECKOUT_COMMIT, Suite


def document(edition: str, profile: str, server: str, required: int) -> dict[str, Any]:
    passed = {"required": required, "optimal": 2, "check": 1}
    return {
        "suite": "cache-tests abc" if edition == "dev" else "http-cache-tests 1",
        "edition": edition,
        "profile": profile,
        "server": server,
        "store": "memory",
        "score": {kind: {"passed": passed[kind], "total": 9} for kind in KINDS},
    }


PEERS = {
    "suite": "cache-tests abc",
    "source": "https://example.org/results",
    "cache": [
        {"name": "Slow", "version": "1", "required": 3, "optimal": 1, "check": 0},
        {"name": "Fast", "version": "2", "required": 7, "optimal": 2, "check": 5},
    ],
}


def test_markdown() -> None:
    documents = [
        document("npm", "default", "granian", 4),
        document("dev", "default", "granian", 5),
        document("dev", "default", "hypercorn", 6),
        document("dev", "rfc", "granian", 8),
    ]
    assert list(table.markdown(documents, PEERS)) == [
        "| cache-tests abc | required (of 9) | optimal (of 9) | check (of 9) |",
        "|---|---:|---:|---:|",
        "| **asgi_cache**, profile default | 5 to 6 | 2 | 1 |",
        "| **asgi_cache**, profile rfc | 8 | 2 | 1 |",
        "| Fast 2 | 7 | 2 | 5 |",
        "| Slow 1 | 3 | 1 | 0 |",
        "",
        "Ours with granian memory, hypercorn memory; a range where they differ.",
        "Others: https://example.org/results",
        "",
        "| http-cache-tests 1 | required (of 9) | optimal (of 9) | check (of 9) |",
        "|---|---:|---:|---:|",
        "| **asgi_cache**, profile default | 4 | 2 | 1 |",
        "",
        "Ours with granian memory; a range where they differ.",
        "",
    ]


def test_peers_leave_out_browsers_and_count_what_was_not_tested() -> None:
    tests = {t.id: t for t in (Test("a", "A"), Test("b", "B", depends_on=("a",)), Test("c", "C"))}
    published = [
        {"name": "Proxy", "type": "rev-proxy", "version": "1", "results": {"a": True, "b": True}},
        {"name": "Browser", "type": "browser", "version": "1", "results": {"a": True}},
        {"name": "CDN", "type": "cdn", "version": "1", "results": {"a": ["E", ""], "b": True}},
    ]
    suite = Suite("dev", "cache-tests abc", Path("nowhere"), "test-engine", "node")
    peers = tomllib.loads("\n".join(table.peer_lines(suite, tests, published)))
    assert (peers["required"], peers["optimal"]) == (3, 0)
    assert [(p["name"], p["required"], p["untested"]) for p in peers["cache"]] == [
        ("Proxy", 2, 1),
        ("CDN", 0, 1),
    ]


def test_the_peers_in_the_repository() -> None:
    peers = tomllib.loads(table.PEERS.read_text("utf-8"))
    assert CHECKOUT_COMMIT in peers["source"]
    assert peers["suite"] == f"cache-tests {CHECKOUT_COMMIT[:7]}"
    assert sum(peers[kind] for kind in KINDS) == 365
    for peer in peers["cache"]:
        assert all(0 < peer[kind] < peers[kind] for kind in KINDS)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--results", str(tmp_path)]) == 2
    assert "no conformance-*.json" in capsys.readouterr().err
    text = json.dumps(document("dev", "rfc", "granian", 8))
    (tmp_path / "conformance-dev-rfc-granian-memory.json").write_text(text)
    assert table.main(["--results", str(tmp_path)]) == 0
    assert "| **asgi_cache**, profile rfc | 8 | 2 | 1 |" in capsys.readouterr().out
