"""How a test or a command says a figure: on the screen, and in the file that is asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

FILE: Final = "FIGURES_FILE"
"""The name in the environment of a file that gets a line of JSON for each :func:`tell`."""


def tell(row: str, part: str = "", **figures: float) -> None:
    """Say *figures* of the promise *row*; of what is told again of one *part*, the last counts."""
    shown = ", ".join(f"{name} {figure:g}" for name, figure in figures.items())
    print(f"{row}{': ' * bool(part)}{part}: {shown}")
    file = os.environ.get(FILE)
    if file:
        with Path(file).open("a", encoding="utf-8") as opened:
            opened.write(json.dumps({"row": row, "part": part, "figures": figures}) + "\n")


def told(file: Path, row: str) -> list[dict[str, float]]:
    """What *file* says of *row*, one dictionary a part."""
    parts: dict[str, dict[str, float]] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            if one["row"] == row:
                parts[one["part"]] = one["figures"]
    return list(parts.values())
