"""The lists can be read, say why, and name the decision behind what the default profile loses."""

import itertools
import tomllib

import pytest

from .lists import HERE, LISTS, list_of
from .matrix import DECISION
from .scoring import KINDS
from .serve import PROFILES


def reasons_in_file(edition: str, profile: str) -> dict[str, str]:
    document = tomllib.loads((HERE / LISTS[edition, profile]).read_text("utf-8"))
    assert list(document) == list(KINDS)
    return dict(itertools.chain.from_iterable(table.items() for table in document.values()))


@pytest.mark.parametrize(("edition", "profile"), LISTS)
def test_every_entry_gives_a_reason(edition: str, profile: str) -> None:
    for test_id, reason in reasons_in_file(edition, profile).items():
        assert reason.endswith("."), test_id


def test_every_profile_with_a_cache_has_a_list() -> None:
    assert {profile for _, profile in LISTS} == {
        name for name, s in PROFILES.items() if s is not None
    }
    assert list_of("npm", "none") is None
    assert {path.name for path in HERE.glob("not_passed*.toml")} == set(LISTS.values())


def test_what_the_default_profile_alone_loses_is_decided() -> None:
    default, rfc = reasons_in_file("dev", "default"), reasons_in_file("dev", "rfc")
    undecided = [i for i in default if i not in rfc and not DECISION.search(default[i])]
    assert undecided == []
