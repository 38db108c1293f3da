"""The public test suite for HTTP caches (npm: http-cache-tests), run against asgi_cache.

    suite's client -> ASGI server -> asgi_cache -> proxy.py -> suite's origin

`python -m tests.conformance` starts all of it, scores the answers as the suite's site does, and
compares what did not pass with `not_passed.toml`. `run.py` tells the options and exit codes;
`--id TEST` shows the messages of one test.

Reading a report: the suite's origin answers 999 where it expected a conditional request and got
another one. uvicorn cannot send that status and breaks off, so "socket hang up" mostly means that
the cache did not revalidate.
"""
