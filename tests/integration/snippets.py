"""What README shows for each framework, word for word; ``test_snippets.py`` runs it.

Around each stands what a reader has already: routes, handlers, a secret.
"""

from __future__ import annotations

from typing import Final

STARLETTE: Final = """\
app = Starlette(
    routes=routes,
    middleware=[  # the first is outermost
        Middleware(CORSMiddleware, allow_origins=origins),  # outside: one page for all origins
        Middleware(asgi_cache.CacheMiddleware, paths={"/products/{id}": 60}),
        Middleware(GZipMiddleware),  # inside: each page is compressed once
        Middleware(SessionMiddleware, secret_key=secret),  # inside: it knows users
    ],
)
"""

FASTAPI: Final = """\
app = FastAPI()  # the last that is added is outermost
app.add_middleware(SessionMiddleware, secret_key=secret)  # inside: it knows users
app.add_middleware(GZipMiddleware)  # inside: each page is compressed once
app.add_middleware(asgi_cache.CacheMiddleware, paths={"/products/{id}": 60})
app.add_middleware(CORSMiddleware, allow_origins=origins)  # outside: one page for all origins
"""

LITESTAR: Final = """\
# Litestar's sessions set a cookie with every response: not on pages that are to be shared.
sessions = ServerSideSessionConfig(exclude=["^/products"])
gzip = CompressionConfig(backend="gzip")  # says Vary only where it compresses; the rule always
app = Litestar(handlers, middleware=[sessions.middleware], compression_config=gzip)
# Around the app: what stands in middleware= is built anew for each route.
app = asgi_cache.wrap(app, paths={"/products/{id}": {"ttl": 60, "vary": ["Accept-Encoding"]}})
"""

QUART: Final = """\
app = Quart(__name__)
app.secret_key = secret  # Quart's session is inside
app.asgi_app = GZipMiddleware(app.asgi_app)  # inside: each page is compressed once
app.asgi_app = asgi_cache.wrap(app.asgi_app, paths={"/products/{id}": 60})
app.asgi_app = CORSMiddleware(app.asgi_app, allow_origins=origins)  # outside: for all origins
"""

DJANGO: Final = """\
# asgi.py. What stands in MIDDLEWARE is inside: sessions, authentication, CSRF, GZipMiddleware, and
# CommonMiddleware, whose Content-Length lets pages have an ETag. Compress there, not outside.
import os

import asgi_cache
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
paths = {"/admin/{rest:path}": False, "/products/{id}": 60}
application = asgi_cache.wrap(get_asgi_application(), paths=paths)
"""

SNIPPETS: Final = {
    "starlette": STARLETTE,
    "fastapi": FASTAPI,
    "litestar": LITESTAR,
    "quart": QUART,
    "django": DJANGO,
}
