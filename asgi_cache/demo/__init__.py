"""The demonstration: a small real ``shop``, and the ``story`` of what the cache makes of it."""
