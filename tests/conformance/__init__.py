"""The public test suite for HTTP caches, run against asgi_cache.

    suite's client -> ASGI server -> asgi_cache -> proxy.py -> suite's origin

`python -m tests.conformance` starts all of it, scores the answers as the suite's site does, and
compares what did not pass with the list of known non-passes of the profile (lists.py). `--all` does
so with every server, store and profile, and wants them all alike. `run.py` tells the options and
exit codes; `--list` names the tests not passed, and `--id TEST` shows the messages of one.

The suite is the npm package http-cache-tests, or with `--checkout DIR` a clone of its development
version (suite.py says which commit). None of its code stands here.

Reading a report: the suite's origin answers 999 where it expected a conditional request and got
another one. uvicorn cannot send that status and breaks off, so "socket hang up" (npm) and "fetch
failed" (checkout) mostly mean that the cache did not revalidate.
"""
