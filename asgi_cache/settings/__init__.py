"""Validated configuration, and what follows from it.

``settings`` and ``rules`` are what users write, ``kinds`` and ``allowed`` what values may be,
``refusals`` how what is wrong is told, ``sources`` and ``files`` where they are read, ``loading``
what the command line reads, ``paths`` which rule a path has, ``plan`` everything derived once.
"""

from asgi_cache.settings.loading import load
from asgi_cache.settings.rules import Rule
from asgi_cache.settings.settings import Settings

__all__ = ["Rule", "Settings", "load"]
