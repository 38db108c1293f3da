"""All entries, in the order of the areas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.mutations.wrong.bodies import BODIES
from tests.mutations.wrong.conditions import CONDITIONS
from tests.mutations.wrong.fills import FILLS
from tests.mutations.wrong.keys import KEYS
from tests.mutations.wrong.leaks import LEAKS
from tests.mutations.wrong.near import NEAR
from tests.mutations.wrong.purges import PURGES
from tests.mutations.wrong.responses import RESPONSES
from tests.mutations.wrong.stores import STORES
from tests.mutations.wrong.turns import TURNS

if TYPE_CHECKING:
    from tests.mutations.wrong.entry import Wrong

WRONG: Final[tuple[Wrong, ...]] = (
    *KEYS,
    *LEAKS,
    *RESPONSES,
    *CONDITIONS,
    *FILLS,
    *TURNS,
    *PURGES,
    *NEAR,
    *STORES,
    *BODIES,
)
