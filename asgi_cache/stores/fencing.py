"""Writes that count only under a lease, as one script: one round trip, joined with others.

Where scripts are forbidden or unknown, the same is done under ``WATCH``, on a connection of its own
and in two (see ``leases``).

What must not be here: what is written, and who has the lease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_cache.stores.resp import Command

# KEYS: the lease; then those that are set; then those that are removed; all in one slot.
# ARGV: the token; the channel, and what to say on it; for each that is set its value, and how long
#       it lives in milliseconds.
# Returns 1; 0 where the lease is not the token's, and then nothing was done. A server without
# memory refuses the first SET, and nobody is told then that something was stored.
_SCRIPT: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local sets = (#ARGV - 3) / 2
for at = 1, sets do
  redis.call('SET', KEYS[1 + at], ARGV[2 + 2 * at], 'PX', ARGV[3 + 2 * at])
end
redis.call('PUBLISH', ARGV[2], ARGV[3])
for at = sets + 2, #KEYS do redis.call('UNLINK', KEYS[at]) end
redis.call('UNLINK', KEYS[1])
return 1
"""
# Sent whole each time: what a server has forgotten of scripts (SCRIPT FLUSH) costs no second try.


def fenced(
    lease: bytes, token: bytes, channel: bytes, told: bytes, commands: Sequence[Command]
) -> Command:
    """*commands*, SETs with PX and UNLINKs, and the lease given back, if it is *token*'s."""
    places: list[bytes] = []
    removed: list[bytes] = []
    values: list[bytes] = []
    for name, *arguments in commands:
        if name == b"SET":
            place, value, _, life = arguments
            places.append(place)
            values += (value, life)
        else:
            removed += arguments
    keys = (lease, *places, *removed)
    return (b"EVAL", _SCRIPT, b"%d" % len(keys), *keys, token, channel, told, *values)


def failed(reply: object) -> bool:
    """Whether *reply* says that the script did not run, or not to its end."""
    return isinstance(reply, ResponseError)


def are_unwanted(reply: object) -> bool:
    """Whether a *reply* that :func:`failed` says that no script will ever run here."""
    return isinstance(reply, NoPermissionError) or "unknown command" in str(reply)
