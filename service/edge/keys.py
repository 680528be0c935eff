"""API keys: who may ask for anything but the page and whether the service is healthy.

It decides what a key looks like, where a request carries it, and whether it is one of ours. That a
service beyond this machine must have keys is `service.edge.listening`'s to say. Keys are kept as
digests only, and nothing here ever tells one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping

from service.errors import Unauthorized
from service.metrics import Metrics
from service.web.page import PAGE_PATHS

KEY_RULE = "16 to 128 characters from A-Za-z0-9._~+/=-"
HEALTH_PATHS = frozenset({"/livez", "/readyz", "/healthz"})
"""Probes of health come from machines that hold no keys, and learn nothing else."""

UNGUARDED_PATHS = HEALTH_PATHS | PAGE_PATHS
"""A browser that opens the page can send no key; it is the same for all, its data asks for one."""

_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,128}")


def is_key(text: str) -> bool:
    """Whether a text may serve as a key: what a Bearer token may hold (RFC 6750), long enough."""
    return _KEY.fullmatch(text) is not None


class KeyRing:
    """The keys that open the service; without any, everything is open."""

    def __init__(self, keys: Iterable[str], metrics: Metrics) -> None:
        self._digests = tuple(_digest(key.encode()) for key in keys)
        self._refused = metrics.refused_keys

    def check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Let a request pass, or count it and raise Unauthorized. Names of headers in lower case.

        `X-API-Key` counts before `Authorization`, which a proxy may use for itself.
        """
        if not self._digests or path in UNGUARDED_PATHS:
            return
        presented = _presented(headers)
        if presented is None:
            self._refused.labels("missing").inc()
            raise Unauthorized(
                "This address needs an API key: send Authorization: Bearer KEY, or X-API-Key: KEY.",
                closing=_has_body(headers),
            )
        if not self._holds(presented):
            self._refused.labels("wrong").inc()
            raise Unauthorized(
                "The API key is not one of this service's.", closing=_has_body(headers), wrong=True
            )

    def _holds(self, presented: bytes) -> bool:
        """Compare with every key, whichever matches: the time it takes tells nothing of them."""
        digest = _digest(presented)
        found = False
        for own in self._digests:
            found |= hmac.compare_digest(own, digest)
        return found


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _presented(headers: Mapping[bytes, bytes]) -> bytes | None:
    if (key := headers.get(b"x-api-key")) is not None:
        return key
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
