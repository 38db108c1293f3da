"""Ours beside the published results of other caches, as a Markdown table.

    python -m tests.conformance.table                  from benchmarks/results/conformance-*.json
    python -m tests.conformance.table --peers CHECKOUT rewrites peers.toml from a suite's checkout

The JSON files are what `python -m tests.conformance --all --json benchmarks/results` writes. What
others pass is scored by the rules that ours is scored by, from the raw results that the suite's
repository publishes: run by its authors, with the caches configured by them.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .processes import HarnessError, MissingComponentError
from .scoring import KINDS, Outcome, Test, outcomes_of, score_of
from .suite import CHECKOUT_URL, Suite, checked_out, commit_of

HERE = Path(__file__).parent
PEERS = HERE / "peers.toml"
RESULTS = HERE.parents[1] / "benchmarks" / "results"

EDITIONS = ("dev", "npm")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.table", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=RESULTS)
    parser.add_argument("--peers", metavar="CHECKOUT", type=Path, help="rewrite peers.toml")
    options = parser.parse_args(arguments)
    if options.peers is not None:
        try:
            suite = checked_out(options.peers)
            text = "\n".join(peer_lines(suite, suite.tests(), suite.published())) + "\n"
        except (MissingComponentError, HarnessError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        PEERS.write_text(text, "utf-8")
        print(f"written: {PEERS}")
        return 0
    paths = sorted(options.results.glob("conformance-*.json"))
    if not paths:
        print(f"error: no conformance-*.json in {options.results}", file=sys.stderr)
        return 2
    documents = [json.loads(path.read_text("utf-8")) for path in paths]
    for line in markdown(documents, tomllib.loads(PEERS.read_text("utf-8"))):
        print(line)
    return 0


def peer_lines(
    suite: Suite, tests: Mapping[str, Test], published: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """`peers.toml`: what the caches pass that are no browsers."""
    commit = commit_of(suite.directory)
    totals = score_of(tests, outcomes_of(tests, {}))
    yield "# What other caches pass: the public results in the suite's repository, by the rules of"
    yield "# scoring.py. Written by `python -m tests.conformance.table --peers CHECKOUT`."
    yield "# `untested`: tests that the suite has by now and that the results are too old to have."
    yield ""
    yield f'source = "{CHECKOUT_URL}/tree/{commit}/results"'
    yield f'suite = "{suite.label}"'
    for kind in KINDS:
        yield f"{kind} = {totals[kind][1]}"
    for peer in published:
        if peer["type"] == "browser":
            continue
        outcomes = outcomes_of(tests, peer["results"])
        yield ""
        yield "[[cache]]"
        yield f'name = "{peer["name"]}"'
        yield f'version = "{peer["version"]}"'
        for kind, (passed, _) in score_of(tests, outcomes).items():
            yield f"{kind} = {passed}"
        yield f"untested = {sum(o is Outcome.UNTESTED for o in outcomes.values())}"


def markdown(documents: Sequence[Mapping[str, Any]], peers: Mapping[str, Any]) -> Iterator[str]:
    """A table for each edition of the suite that `documents` are of; peers stand beside theirs."""
    for edition in EDITIONS:
        ours = [document for document in documents if document["edition"] == edition]
        if not ours:
            continue
        labels = sorted({document["suite"] for document in ours})
        totals = ours[0]["score"]
        heads = [f"{kind} (of {totals[kind]['total']})" for kind in KINDS]
        yield f"| {' / '.join(labels)} | {' | '.join(heads)} |"
        yield "|---|---:|---:|---:|"
        for profile in dict.fromkeys(document["profile"] for document in ours):
            cells = [document for document in ours if document["profile"] == profile]
            counts = [_range(cell["score"][kind]["passed"] for cell in cells) for kind in KINDS]
            yield f"| **asgi_cache**, profile {profile} | {' | '.join(counts)} |"
        if labels == [peers["suite"]]:
            for peer in sorted(peers["cache"], key=lambda peer: -peer["required"]):
                counts = [str(peer[kind]) for kind in KINDS]
                yield f"| {peer['name']} {peer['version']} | {' | '.join(counts)} |"
        yield ""
        places = sorted({f"{document['server']} {document['store']}" for document in ours})
        yield f"Ours with {', '.join(places)}; a range where they differ."
        if labels == [peers["suite"]]:
            yield f"Others: {peers['source']}"
        yield ""


def _range(numbers: Iterable[int]) -> str:
    ordered = sorted(numbers)
    low, high = ordered[0], ordered[-1]
    return str(low) if low == high else f"{low} to {high}"


if __name__ == "__main__":
    sys.exit(main())
