"""RFC 9875 §2: the cache groups of a response, by which a purge reaches it.

What must not be here: the stamps of a group (``keys``), what invalidates one (``invalidation``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asgi_cache.fields import parse_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_cache.model import ResponseHead
    from asgi_cache.settings import Rule

MAX_GROUPS: Final = 128
"""Groups of one response; RFC 9875 §2 asks for 32 at least."""

PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


def rule_groups(rule: Rule | None, params: Mapping[str, str]) -> list[str]:
    """The groups of a rule with the parameters of its path put in."""
    if rule is None:
        return []
    return [PLACEHOLDER.sub(lambda found: params.get(found[1], ""), group) for group in rule.groups]


def groups_of(
    head: ResponseHead, rule: Rule | None, params: Mapping[str, str]
) -> tuple[str, ...] | None:
    """The groups of the rule, then those that Cache-Groups names (RFC 9875); ``None``: too many

    or unreadable, so that a purge of one could not be kept to.
    """
    groups = rule_groups(rule, params)
    lines = head.values(b"cache-groups")
    if lines:
        named = parse_groups(lines)
        if named is None:
            return None
        groups += named
    unique = tuple(dict.fromkeys(groups))
    return unique if len(unique) <= MAX_GROUPS else None
