"""Every comparison of the policy turned round, one at a time: a test must fail for each.

``python -m tests.mutations`` collects ``tests/policy`` once, then forks for each mutant: the child
puts the changed code into the functions that are already there, runs the tests, those of the
module first, and ends at the first failure. Nothing is written, and no package is copied.
"""
