"""Validated configuration, and what follows from it.

``settings`` and ``rules`` are what users write, ``kinds`` and ``allowed`` what values may be,
``sources`` where they are read, ``paths`` which rule a path has, ``plan`` everything derived once.
"""

from asgi_cache.settings.rules import Rule
from asgi_cache.settings.settings import Settings, load

__all__ = ["Rule", "Settings", "load"]
