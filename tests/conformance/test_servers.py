"""The servers are told their port, and nothing is left to fill in."""

import pytest

from .servers import HERE, SERVERS


@pytest.mark.parametrize("name", SERVERS)
def test_commands(name: str) -> None:
    command = SERVERS[name].command("python", 8123)
    assert command[:2] == ["python", "-m"]
    assert sum("8123" in part for part in command) == 1
    assert not any("{" in part for part in command)


def test_hypercorn_finds_its_file() -> None:
    assert str(HERE / "hypercorn.toml") in SERVERS["hypercorn"].arguments
    assert (HERE / "hypercorn.toml").is_file()
