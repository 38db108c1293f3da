"""Random histories over several worker processes and one Redis, with faults on: the checker.

``python -m tests.security.checker``. Each worker process has an app behind a cache, clients that
ask it at random, purge and go away, and a judge of every answer. ``pages`` and ``bodies`` say what
there is to ask for and how an answer describes itself; ``app`` makes it; ``asking``, ``driving``
and ``clients`` ask; ``exchange`` is what ``judge`` sees, which is pure; ``board`` is what the
workers know of each other; ``relay`` and ``faults`` are what goes wrong between them and Redis;
``running`` puts it together.
"""
