"""Wrong versions of this cache, each put back into the code: the suite must fail on every one.

``python -m tests.mutations.wrong`` copies the package and its tests into a temporary directory,
one for each job, makes one change there at a time and runs the tests named for it. CI does not:
it checks that every change still applies to the present source (``test_wrong.py``).
"""
