"""Fork after use: the child has neither the parent's tasks nor its connections."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lifecycle.processes import ROOT


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_a_fork_while_the_cache_fills_and_revalidates(
    redis_url: str, namespace: str, kind: str
) -> None:
    store = redis_url if kind == "redis" else "memory://"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.lifecycle.forking", store, namespace],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
