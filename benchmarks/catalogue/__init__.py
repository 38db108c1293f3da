"""A shop's catalogue as one would write it: FastAPI, SQLAlchemy 2, a connection pool, indexes.

It is what the benchmarks measure, with the cache and without, and knows nothing of either.
"""
