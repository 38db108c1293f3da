"""``python -m asgi_cache``: the command line."""

from __future__ import annotations

import sys

from asgi_cache.cli import main

if __name__ == "__main__":
    sys.exit(main())
