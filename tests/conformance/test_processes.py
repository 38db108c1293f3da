"""The harness stops what it started, and says what is missing."""

import contextlib
import sys
from pathlib import Path

import pytest

from . import run
from .processes import HarnessError, free_ports, listening
from .suite import PACKAGE


def listener(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]


def test_a_listener_is_stopped_when_the_block_fails(tmp_path: Path) -> None:
    [port] = free_ports(1)
    block = contextlib.ExitStack()
    running = block.enter_context(listening("listener", listener(port), port, tmp_path))
    running.check_alive()
    with pytest.raises(ZeroDivisionError), block:
        raise ZeroDivisionError
    assert running.process.returncode is not None
    with pytest.raises(HarnessError, match="listener exited with"):
        running.check_alive()


def test_an_early_death_is_told_with_its_last_words(tmp_path: Path) -> None:
    [port] = free_ports(1)
    command = [sys.executable, "-c", "raise SystemExit('no such setting')"]
    with (
        pytest.raises(HarnessError, match=r"(?s)listener exited with 1.*no such setting"),
        listening("listener", command, port, tmp_path),
    ):
        pytest.fail("it never listened")


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5


@pytest.mark.parametrize(("present", "missing"), [((), "node"), (("node",), "npm")])
def test_missing_programs_are_named(
    present: tuple[str, ...],
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in present:
        program = programs / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert run.main(["--suite", str(tmp_path / "suite")]) == 2
    assert f"error: {missing} is not on PATH" in capsys.readouterr().err


def test_a_package_that_npm_cannot_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho unreachable >&2; exit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert run.main(["--suite", str(tmp_path / "suite")]) == 2
    assert f"npm could not install {PACKAGE}@0.4.5: unreachable" in capsys.readouterr().err
