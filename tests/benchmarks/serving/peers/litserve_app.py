"""The job in LitServe with its batching: `python -m ...litserve_app PORT`."""

# Without `from __future__ import annotations`: LitServe reads the annotation of a request's type.
import json
import sys
from typing import Any

import litserve
import redis

from tests.benchmarks.serving.peers.job import Job, Query, answered, redis_url

MAX_BATCH, WAIT_S = 64, 0.002


class Peer(litserve.LitAPI):  # type: ignore[misc]  # its library is in another environment
    """One worker process on the CPU."""

    def setup(self, device: str) -> None:
        """Load the model and connect, in the worker."""
        self.job, self.cache = Job(), redis.from_url(redis_url())

    def decode_request(self, request: dict[str, Any]) -> Query:
        """One query from its JSON."""
        return Query(request["user_id"], request["k"], request["exclude"])

    def batch(self, inputs: list[Query]) -> list[Query]:
        """Queries stay a list."""
        return inputs

    def predict(self, x: list[Query]) -> list[bytes]:
        """Answers from the cache, the rest from one run of the model."""
        return answered(self.job, self.cache, x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """One answer a query."""
        return output

    def encode_response(self, output: bytes) -> dict[str, Any]:
        """As a document: LitServe writes the JSON."""
        document: dict[str, Any] = json.loads(output)
        return document


if __name__ == "__main__":
    api = Peer(max_batch_size=MAX_BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
