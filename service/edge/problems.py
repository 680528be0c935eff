"""Problem documents as responses."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.edge.request_ids import instance_of
from service.errors import PROBLEM_JSON, Problem


class ProblemResponse(Response):
    """A problem document; it is written when sent, for only then is the request known."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            status_code=problem.status, headers=problem.headers, media_type=PROBLEM_JSON
        )
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, naming the request."""
        self.body = self._problem.body(instance_of(scope))
        self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
