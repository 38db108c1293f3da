"""The settings as the command line finds them: it looks for a file, which a library never does.

What must not be here: how a file is read (``files``), what a setting means (``settings``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from asgi_cache.settings import files, sources
from asgi_cache.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asgi_cache.settings.files import File


def load(
    config_file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    directory: Path | None = None,
) -> tuple[Settings, dict[str, str]]:
    """The settings as the command line finds them, and each one's source.

    A source is ``command line`` (*overrides*), a variable's name, a file's name or ``default``; for
    the file see :func:`configuration_file`. Raises :class:`~asgi_cache.ConfigurationError`.
    """
    file = configuration_file(config_file, directory)
    readers = sources.readers_of(Settings.model_fields)
    resolved = sources.resolve(
        readers, overrides or {}, os.environ, file, overridden_by=sources.COMMAND_LINE
    )
    settings = Settings(_resolved=resolved)
    named = {name: one.source for name, one in resolved.given.items()}
    return settings, {name: named.get(name, sources.DEFAULT) for name in Settings.model_fields}


def configuration_file(config_file: Path | None, directory: Path | None) -> File | None:
    """The one file that settings are read from here.

    *config_file* takes the place of ``ASGI_CACHE_CONFIG``; without either, ``asgi-cache.toml`` and
    ``[tool.asgi-cache]`` of ``pyproject.toml`` in *directory* are looked for.
    """
    names = Settings.model_fields
    if config_file is not None:
        return files.read_file(config_file, files.GIVEN, names)
    named = files.named_file(os.environ, names)
    if named is not None or directory is None:
        return named
    return files.find_file(directory, names)
