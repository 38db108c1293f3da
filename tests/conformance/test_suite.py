"""A checkout of the suite is told from what is none, and its commit is said."""

import subprocess
from pathlib import Path

import pytest

from . import matrix, run, suite
from .processes import MissingComponentError
from .scoring import Cell
from .servers import SERVERS


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like one, and a node that is never asked anything."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("node", "npm"):
        program = programs / name
        program.write_text("#!/bin/sh\necho unreachable >&2; exit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    directory = tmp_path / "checkout"
    for name in ("test-engine/cli.mjs", "tests/index.mjs", "node_modules/undici/package.json"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("{}")
    return directory


def test_a_checkout(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = suite.checked_out(checkout)
    assert (found.edition, found.engine) == ("dev", "test-engine")
    assert found.directory == checkout.resolve()
    assert found.label == "cache-tests of unknown commit"
    assert f"the lists are about {suite.CHECKOUT_COMMIT}" in capsys.readouterr().out
    command, environment = found.origin(8123, checkout)
    assert command[1:] == ["test-engine/server/server.mjs"]
    assert environment["npm_config_port"] == "8123"


def test_its_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(checkout), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    commit = suite.commit_of(checkout)
    assert commit is not None
    assert suite.checked_out(checkout).label == f"cache-tests {commit[:7]}"
    assert suite.commit_of(checkout / "tests") is None  # not the repository that it lies in


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("tests/index.mjs", "is no checkout of cache-tests"),
        ("test-engine/cli.mjs", "is no checkout of cache-tests"),
        ("node_modules/undici/package.json", "npm could not install undici: unreachable"),
    ],
)
def test_what_is_none(
    gone: str, said: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / gone).unlink()
    assert run.main(["--checkout", str(checkout)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


def test_the_package_in_its_old_form_is_no_checkout(checkout: Path) -> None:
    (checkout / "test-engine/cli.mjs").rename(checkout / "cli.mjs")
    with pytest.raises(MissingComponentError, match="older than any"):
        suite.checked_out(checkout)


def test_all_cells_of_some_servers(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one cell has one server."""
    asked: list[str] = []

    def ran(cells: list[Cell], *_: object, **__: object) -> list[object]:
        asked.extend(cell.server for cell in cells)
        return []

    monkeypatch.setattr(suite.Suite, "tests", lambda _: {})
    monkeypatch.setattr(run, "reasons_of", lambda *_: {})
    monkeypatch.setattr(matrix, "run", ran)
    monkeypatch.setattr(matrix, "conclude", lambda *_: 0)
    chosen = ["--checkout", str(checkout), "--server", "granian"]
    assert run.main([*chosen, "--all"]) == 0
    assert set(asked) == {"granian"}
    asked.clear()
    assert run.main(["--checkout", str(checkout), "--all"]) == 0
    assert set(asked) == {*SERVERS}
    assert run.main([*chosen, "--server", "hypercorn"]) == 2
