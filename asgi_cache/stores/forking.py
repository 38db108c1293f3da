"""What a forked child does with the connections of its parent: nothing that the parent could see.

What must not be here: when that is to be done.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any


def let_go(connection: Any) -> None:
    """Close its socket in this process only, and tell neither server nor event loop."""
    writer: Any = getattr(connection, "_writer", None)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        descriptor = writer.get_extra_info("socket").fileno()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
