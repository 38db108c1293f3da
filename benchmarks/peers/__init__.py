"""asgi_cache beside the bare app and beside other caches: see ``python -m benchmarks.peers -h``."""
