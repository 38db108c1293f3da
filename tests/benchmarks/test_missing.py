"""What is missing is said in one line, with exit status 2."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load import BrokenError
from benchmarks.processes import MissingError, driver_of, find_redis_server, redis_at, require
from benchmarks.running import finish

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["throughput", "techniques"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--load", "wrk"], "missing: wrk is not on PATH"),
        (["--database", "mysql://x/y"], "missing: --database begins with 'mysql'"),
        (
            ["--database", "sqlite+aiosqlite:////nowhere/at/all.db"],
            "missing: the database cannot be filled: unable to open database file",
        ),
    ],
)
def test_one_line_and_status_2(module: str, arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_no_redis_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingError, match="a Redis server: put redis-server"):
        find_redis_server()


def test_a_redis_that_does_not_answer() -> None:
    with pytest.raises(MissingError, match="no Redis at"), redis_at("redis://127.0.0.1:1/0"):
        pass


def test_modules_are_named() -> None:
    require(["json"])
    with pytest.raises(MissingError, match=r"nothing_such, nor_such not installed; pip install"):
        require(["json", "nothing_such", "nor_such"])


@pytest.mark.parametrize(
    ("url", "driver"),
    [("sqlite+aiosqlite:///x", "aiosqlite"), ("postgresql+asyncpg://a/b", "asyncpg")],
)
def test_driver(url: str, driver: str) -> None:
    assert driver_of(url) == driver


@pytest.mark.parametrize(
    ("error", "status"), [(MissingError("x"), 2), (BrokenError("x"), 1), (KeyboardInterrupt(), 130)]
)
def test_statuses(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        raise error

    assert finish(run) == status
    assert capsys.readouterr().err.count("\n") == 1
    assert finish(lambda: None) == 0
