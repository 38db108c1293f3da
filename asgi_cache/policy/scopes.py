"""The scopes of invalidation a response belongs to, as names of stamps (design: invalidation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_cache.policy.grouping import rule_groups
from asgi_cache.policy.keys import (
    NAMESPACE,
    Target,
    group_stamps,
    path_stamp,
    target_stamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_cache.settings.paths import Match


def required_names(target: Target, match: Match | None) -> tuple[bytes, ...]:
    """The scopes that the request alone tells: what every response to it must carry.

    A target without query reads no path stamp: a purge of all queries writes both.
    """
    authority, path, query = target
    names: tuple[bytes, ...] = (NAMESPACE, target_stamp(target.text))
    if query:
        names += (path_stamp(authority, path),)
    if match is not None and match.rule is not None and match.rule.groups:
        names += group_names(rule_groups(match.rule, match.params), authority)
    return names


def group_names(groups: Iterable[str], authority: bytes) -> tuple[bytes, ...]:
    """Both stamps of each group, without repeats."""
    names = [name for group in groups for name in group_stamps(group, authority)]
    return tuple(dict.fromkeys(names))


def purged_names(targets: Sequence[Target], all_queries: bool) -> list[bytes]:
    """What a purge of *targets* replaces; with *all_queries* whatever their query."""
    names: list[bytes] = []
    for target in targets:
        if all_queries:
            names.append(path_stamp(target.authority, target.path))
            names.append(target_stamp(target._replace(query=b"").text))
        else:
            names.append(target_stamp(target.text))
    return names
