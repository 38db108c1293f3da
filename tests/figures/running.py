"""One promise: its commands are run, what they say is put together, and judged by its bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.figures.telling import FILE, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.figures.rows import Figure, Form, Row

ROOT: Final = Path(__file__).parents[2]
LAST_LINES: Final = 200
"""Of what a command printed that failed."""


def run(row: Row, form: Form) -> dict[str, Any]:
    """Run *form* of *row*; what is to be kept of it."""
    began = time.monotonic()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        file = Path(folder, "figures")
        environment = {**os.environ, **form.environment, FILE: str(file)}
        for command in form.commands:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                failed.append(f"exit {done.returncode}: {shown(command)}")
                print("\n".join(done.stdout.splitlines()[-LAST_LINES:]), file=sys.stderr)
        figures = joined(row.figures, told(file, row.name))
    missed = [*failed, *broken(row.figures, form.at_least, figures)]
    return {
        "promise": form.promise,
        "told": row.told.format(**figures) if not missing(row.figures, figures) else "",
        "figures": figures,
        "reached": not missed,
        "missed": missed,
        "command": in_shell(form),
        "at": at,
        "seconds": round(time.monotonic() - began),
        "load_average": round(os.getloadavg()[0], 1),
    }


def joined(wanted: Sequence[Figure], parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One value for each figure that was told: of several parts the sum, or the worst."""
    found = {}
    for figure in wanted:
        values = [part[figure.name] for part in parts if figure.name in part]
        if values:
            found[figure.name] = figure.join(values)
    return found


def missing(wanted: Sequence[Figure], found: Mapping[str, float]) -> list[str]:
    """The figures that nobody told."""
    return [figure.name for figure in wanted if figure.name not in found]


def broken(
    wanted: Sequence[Figure], at_least: Mapping[str, float], found: Mapping[str, float]
) -> list[str]:
    """What is not as promised, in words."""
    wrong = [f"{name} was not told" for name in missing(wanted, found)]
    for figure in wanted:
        value = found.get(figure.name)
        if value is None:
            continue
        if figure.at_most is not None and value > figure.at_most:
            wrong.append(f"{figure.name} is {value:g}, promised at most {figure.at_most:g}")
        least = at_least.get(figure.name)
        if least is not None and value < least:
            wrong.append(f"{figure.name} is {value:g}, promised at least {least:g}")
    return wrong


def in_shell(form: Form) -> str:
    """The commands of *form* as one types them."""
    settings = "".join(f"{name}={value} " for name, value in form.environment.items())
    return " && ".join(settings + shown(command) for command in form.commands)


def shown(command: Sequence[str]) -> str:
    """One command as one types it."""
    return " ".join(["python", *(f"'{word}'" if " " in word else word for word in command)])
