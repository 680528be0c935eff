"""The page at `/`: which files it is made of, and how they are served.

They are read once and served as they are, or compressed; there is nothing to build. The page talks
to the REST API like any other caller, so nothing in its files is secret and none needs a key.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import MethodNotAllowed

FOLDER = Path(__file__).parent
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses of the page name users
    "Cache-Control": "no-cache",  # kept, and asked for again by its tag
    "Vary": "Accept-Encoding",
}


def address_of(file: Path) -> str:
    """Where a file of the page is served."""
    return "/" if file.name == "index.html" else f"/page/{file.name}"


def response_of(file: Path, *, packed: bool) -> Response:
    """A file as a response that can be sent any number of times."""
    content = file.read_bytes()
    encoding = {}
    if packed:
        content, encoding = gzip.compress(content, mtime=0), {"Content-Encoding": "gzip"}
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    kind = {"Content-Type": TYPES[file.suffix]}
    return Response(content, headers={**HEADERS, **kind, **encoding, "ETag": etag})


FILES = {address_of(file): file for file in FOLDER.iterdir() if file.suffix in TYPES}
PLAIN = {path: response_of(file, packed=False) for path, file in FILES.items()}
PACKED = {path: response_of(file, packed=True) for path, file in FILES.items()}
PAGE_PATHS = frozenset(FILES)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request for one of `PAGE_PATHS`. Raises MethodNotAllowed."""
    path, method = scope["path"], scope["method"]
    if method != "GET":
        raise MethodNotAllowed(f"{path} does not take {method}.", {"Allow": "GET, HEAD"})
    headers = dict(scope["headers"])
    response = (PACKED if b"gzip" in headers.get(b"accept-encoding", b"") else PLAIN)[path]
    etag = response.headers["ETag"]
    if etag.encode() in headers.get(b"if-none-match", b""):
        response = Response(status_code=304, headers={**HEADERS, "ETag": etag})
    await response(scope, receive, send)
