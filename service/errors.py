"""What can go wrong in an answer, and the RFC 9457 problem document each becomes.

ServiceError
|-- SettingsRefused        at start: an environment variable cannot be used
|-- ModelNotServable       at start: the model's graphs are not what this service calls
|-- BatchRefused           in a batch: it cannot be begun, or not gone on with
`-- Problem                in a request: becomes a problem document
    |-- InvalidRequest     422  a parameter or the body breaks a bound; names which
    |   |-- UnknownItem    422  an item id the catalogue does not hold
    |   `-- UnknownGenre   422  a genre the catalogue does not hold
    |-- MalformedRequest   400  the request could not be read at all
    |-- Unauthorized       401  no API key, or a wrong one
    |-- NotFound           404  no such route
    |   |-- NoSuchItem     404  the address names an item the catalogue does not hold
    |   `-- NotRated       404  the user has not rated the item
    |-- MethodNotAllowed   405  the route has other methods
    |-- BodyTooSlow        408  the body did not come in time
    |-- BodyTooLarge       413  more than 1 MB
    |-- InternalError      500  our mistake; the log has it
    |-- HistoryFull        409  the user has changed as many ratings as are kept
    |-- Overloaded         503  the engine's queue is full; retry
    |-- NotReady           503  no model is loaded yet
    |-- RatingsUnavailable 503  the ratings Redis does not answer
    |-- RatingsNotKept     501  no ratings Redis is configured
    `-- TimedOut           504  the request took longer than it may
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: where (`query k`, `body ratings 3 rating`), and what."""

    where: str
    detail: str


class ServiceError(Exception):
    """Anything the service says no with; the message is one sentence for a person."""


class SettingsRefused(ServiceError):
    """An environment variable cannot be used."""


class ModelNotServable(ServiceError):
    """The model's graphs do not take or give what this service calls them with."""


class BatchRefused(ServiceError):
    """A batch cannot be begun, or not gone on with."""


class Problem(ServiceError):
    """An error of one request. `detail` is the sentence; `faults` name the parts at fault."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "problem"
    title: ClassVar[str] = "The request failed"

    def __init__(self, detail: str, faults: Iterable[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the document."""
        return {}

    def document(self, instance: str) -> dict[str, Any]:
        """The problem document's members; `instance` is a URI that names the request."""
        members: dict[str, Any] = {
            "type": f"urn:usher:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.faults:
            members["errors"] = [asdict(fault) for fault in self.faults]
        return members

    def body(self, instance: str) -> bytes:
        """The document as JSON bytes."""
        return json.dumps(self.document(instance), separators=(",", ":")).encode()


class InvalidRequest(Problem):
    """A parameter or the body breaks a bound."""

    status, kind, title = 422, "invalid-request", "The request breaks a bound"


class UnknownItem(InvalidRequest):
    """An item id the catalogue does not hold."""

    kind, title = "unknown-item", "An item is not in the catalogue"


class UnknownGenre(InvalidRequest):
    """A genre the catalogue does not hold."""

    kind, title = "unknown-genre", "A genre is not in the catalogue"


class MalformedRequest(Problem):
    """The request could not be read."""

    status, kind, title = 400, "malformed-request", "The request cannot be read"


class Unauthorized(Problem):
    """No API key came along, or a wrong one."""

    status, kind, title = 401, "unauthorized", "The request needs an API key"

    def __init__(self, detail: str, *, closing: bool, wrong: bool = False) -> None:
        super().__init__(detail)
        self.closing = closing
        self.wrong = wrong

    @property
    def headers(self) -> dict[str, str]:
        """How to do better (RFC 6750), and whether the connection ends, its body unread."""
        challenge = 'Bearer realm="usher"' + (', error="invalid_token"' if self.wrong else "")
        closing = {"Connection": "close"} if self.closing else {}
        return {"WWW-Authenticate": challenge} | closing


class NotFound(Problem):
    """No such route."""

    status, kind, title = 404, "not-found", "There is nothing at this address"


class NoSuchItem(NotFound):
    """The address names an item the catalogue does not hold."""

    kind, title = "no-such-item", "The catalogue has no such item"


class MethodNotAllowed(Problem):
    """The route has other methods."""

    status, kind, title = 405, "method-not-allowed", "The address has other methods"

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.allow = dict(headers)

    @property
    def headers(self) -> dict[str, str]:
        """`Allow` names the methods there are."""
        return self.allow


class BodyTooSlow(Problem):
    """The body did not come in time."""

    status, kind, title = 408, "body-too-slow", "The body did not come in time"

    @property
    def headers(self) -> dict[str, str]:
        """The connection ends here, the rest of the body unread."""
        return {"Connection": "close"}


class BodyTooLarge(Problem):
    """More than a request may carry."""

    status, kind, title = 413, "body-too-large", "The body is too large"

    def __init__(self, detail: str, closing: bool) -> None:
        super().__init__(detail)
        self.closing = closing

    @property
    def headers(self) -> dict[str, str]:
        """Whether the connection ends here, the rest of the body unread."""
        return {"Connection": "close"} if self.closing else {}


class InternalError(Problem):
    """Our mistake."""

    status, kind, title = 500, "internal-error", "The service made a mistake"


class Overloaded(Problem):
    """The engine's queue is full."""

    status, kind, title = 503, "overloaded", "The service is busy"

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, in seconds."""
        return {"Retry-After": "1"}


class NotReady(Overloaded):
    """No model is loaded."""

    kind, title = "not-ready", "The service is not ready"


class NotRated(NotFound):
    """The user has not rated the item."""

    kind, title = "not-rated", "There is no such rating"


class HistoryFull(Problem):
    """The user has changed as many ratings as are kept."""

    status, kind, title = 409, "history-full", "The user has too many changed ratings"


class RatingsUnavailable(Overloaded):
    """The ratings Redis does not answer."""

    kind, title = "ratings-unavailable", "Ratings cannot be read or kept now"


class RatingsNotKept(Problem):
    """No ratings Redis is configured."""

    status, kind, title = 501, "ratings-not-kept", "This service keeps no ratings"


class TimedOut(Problem):
    """The request took longer than it may."""

    status, kind, title = 504, "timed-out", "The request took too long"
