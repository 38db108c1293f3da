"""The lists of known non-passes: a file for each edition of the suite and each profile."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from .scoring import Test, reasons_in

HERE = Path(__file__).parent

LISTS: Mapping[tuple[str, str], str] = {
    ("npm", "default"): "not_passed.toml",
    ("npm", "rfc"): "not_passed_rfc.toml",
    ("dev", "default"): "not_passed_dev.toml",
    ("dev", "rfc"): "not_passed_dev_rfc.toml",
}
# What a profile loses against this one, it loses by a decision, which its reason has to name.
MEASURE = "rfc"


def list_of(edition: str, profile: str) -> Path | None:
    """The file of a suite's edition and a profile; None where nothing is expected of it."""
    name = LISTS.get((edition, profile))
    return None if name is None else HERE / name


def reasons_of(edition: str, profile: str, tests: Mapping[str, Test]) -> dict[str, str]:
    """The reason for each known non-pass; WrongListError for a list that cannot be right."""
    path = list_of(edition, profile)
    return {} if path is None else reasons_in(tomllib.loads(path.read_text("utf-8")), tests)
