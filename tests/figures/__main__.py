"""The command: each promise's figure, its command, and whether it is kept; exit 1 if one is not."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import RESULTS, machine
from tests.figures.rows import ROWS
from tests.figures.running import in_shell, run

if TYPE_CHECKING:
    from collections.abc import Sequence


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.figures", description=__doc__)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true", help="as on CI")
    form.add_argument("--long", action="store_true", help="some hours")
    form.add_argument("--list", action="store_true", help="what there is, and how long it takes")
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS / "figures.json")
    return parser.parse_args(arguments)


def kept(file: Path) -> dict[str, Any]:
    """What *file* has of earlier runs."""
    if not file.exists():
        return {"rows": {}}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(file: Path, name: str, form: str, result: dict[str, Any]) -> None:
    """Put *result* of *form* of the row *name* into *file*, which has all rows in their order.

    Of what has never been run only the promise stands there.
    """
    everything = kept(file)
    everything["machine"] = machine()
    everything["machine"].pop("load_average_at_start")
    found = everything["rows"]
    found.setdefault(name, {})[form] = result
    everything["rows"] = {
        row.name: {
            "what": row.what,
            **{
                form: found.get(row.name, {}).get(form, {"promise": way.promise})
                for form, way in (("quick", row.quick), ("long", row.long))
            },
        }
        for row in ROWS
    }
    file.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, one after the other; the exit status."""
    options = _options(arguments)
    chosen = [row for row in ROWS if options.only is None or row.name in options.only]
    if options.list:
        for row in chosen:
            for form, name in ((row.quick, "quick"), (row.long, "long")):
                print(f"{row.name} ({name}, {form.minutes:g} min): {in_shell(form)}")
        return 0
    reached = True
    for row in chosen:
        name, form = ("quick", row.quick) if options.quick else ("long", row.long)
        result = run(row, form)
        for same in ("quick", "long") if row.quick is row.long else (name,):
            keep(options.out, row.name, same, result)
        verdict = "reached" if result["reached"] else "NOT REACHED"
        print(f"{row.what}\n  promised: {form.promise}\n  {verdict}: {result['told']}")
        for line in result["missed"]:
            print(f"    {line}")
        print(f"  {result['command']} ({result['seconds']} s)\n", flush=True)
        reached = reached and result["reached"]
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
