"""Request ids: one name for a request in its response, its problem document and the logs.

A caller may bring one, so that a request keeps its name from one service to the next; anything
that could be more than a name in a log or a header is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

REQUEST_ID = "usher.request_id"
"""Where in the scope a request's id is."""

_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestIds:
    """Names requests. Drawn ids need not be secret, only different: 128 random bits."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def of(self, headers: Mapping[bytes, bytes]) -> str:
        """The valid `X-Request-ID` that came along, or a new one of 32 hexadecimal digits."""
        given = headers.get(b"x-request-id")
        if given is not None and _GIVEN.fullmatch(given):
            return given.decode()
        return f"{self._random.getrandbits(128):032x}"


def instance_of(scope: Mapping[str, Any]) -> str:
    """A request as the `instance` of a problem document: a URI that names this occurrence."""
    return f"urn:usher:request:{scope[REQUEST_ID]}"
