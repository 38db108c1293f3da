"""The command line: ``options`` reads it, ``commands`` does it, ``serving`` loads and listens."""

from asgi_cache.cli.options import main

__all__ = ["main"]
