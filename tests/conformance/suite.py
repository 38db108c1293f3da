"""The suite's npm package: installed, asked for its tests, and run.

Everything that is known about a test comes from the package, nothing of it stands here.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import HarnessError, MissingComponentError
from .scoring import Results, Test

PACKAGE = "http-cache-tests"
VERSION = "0.4.5"
HERE = Path(__file__).parent
BRIDGE = HERE / "suite.mjs"
INSTALL_SECONDS = 300.0


@dataclass(frozen=True)
class Suite:
    """An installed package: its directory, and the node that runs it."""

    directory: Path
    node: str

    def tests(self) -> dict[str, Test]:
        """The tests by id, in the suite's order."""
        listed = self._json([str(BRIDGE), str(self.directory), "list"], timeout=30)
        return {fields["id"]: Test.read(fields) for fields in listed}

    def origin(self, port: int, scratch: Path) -> tuple[list[str], dict[str, str]]:
        """Command and environment of the origin; its working directory is the package's."""
        environment = self._environment(protocol="http", port=str(port))
        environment["npm_config_pidfile"] = str(scratch / "origin.pid")
        return [self.node, "server/server.mjs"], environment

    def run(self, base: str, *, timeout: float) -> Results:
        """All tests with the suite's own command line; `timeout` in seconds."""
        environment = self._environment(base=base, id="")
        results: Results = self._json(["--no-warnings", "cli.mjs"], environment, timeout=timeout)
        return results

    def run_alone(self, base: str, ids: list[str], *, timeout: float) -> Results:
        """These tests, one after the other; `timeout` in seconds for all of them."""
        arguments = [str(BRIDGE), str(self.directory), "run", base, *ids]
        results: Results = self._json(arguments, timeout=timeout)
        return results

    def show(self, base: str, test_id: str, *, timeout: float) -> None:
        """One test with the suite's own command line, which prints the messages it exchanged."""
        command = [self.node, "--no-warnings", "cli.mjs"]
        environment = self._environment(base=base, id=test_id)
        try:
            subprocess.run(
                command, cwd=self.directory, env=environment, timeout=timeout, check=True
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(f"{test_id} did not end in {timeout:.0f} seconds") from None
        except subprocess.CalledProcessError as error:
            raise HarnessError(f"the suite exited with {error.returncode}") from None

    def _json(
        self, arguments: list[str], environment: dict[str, str] | None = None, *, timeout: float
    ) -> Any:
        command = [self.node, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=environment,
                timeout=timeout,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(f"the suite did not end in {timeout:.0f} seconds") from None
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise HarnessError(f"the suite exited with {done.returncode}: {said}") from None

    def _environment(self, **config: str) -> dict[str, str]:
        # The package's scripts read npm's configuration variables. An empty one falls back to the
        # package.json value that npm would have exported, so both are set.
        environment = dict(os.environ)
        for name, value in config.items():
            environment[f"npm_config_{name}"] = value
            environment[f"npm_package_config_{name}"] = value
        return environment


def installed(prefix: Path) -> Suite:
    """The suite beneath `prefix`/node_modules, installed there if this version is not."""
    node = _program("node")
    directory = (prefix / "node_modules" / PACKAGE).resolve()
    if _version(directory) != VERSION:
        prefix.mkdir(parents=True, exist_ok=True)
        print(f"installing {PACKAGE}@{VERSION} beneath {prefix}", flush=True)
        command = [_program("npm"), "install", "--prefix", str(prefix), "--no-save", "--no-audit"]
        command += ["--no-fund", "--ignore-scripts", "--omit=dev", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise MissingComponentError(
                f"npm install did not end in {INSTALL_SECONDS:.0f} s"
            ) from None
        if done.returncode or _version(directory) != VERSION:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise MissingComponentError(f"npm could not install {PACKAGE}@{VERSION}: {said}")
    return Suite(directory, node)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingComponentError(f"{name} is not on PATH: the suite needs Node.js, with npm")
    return found


def _version(directory: Path) -> str | None:
    try:
        version: str = json.loads((directory / "package.json").read_text("utf-8"))["version"]
    except FileNotFoundError:
        return None
    return version
