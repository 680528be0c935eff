"""Traces: where a request's time went, as OpenTelemetry spans sent to a collector.

There is a span for the request, one for each call of either Redis and one for each wait for a graph
(its turn and its run; a run itself is shared by many requests). None of this exists unless
`USHER_TRACES` is set: the traced parts below take the place of the plain ones when a worker is put
together, so that without traces no request pays for them.

Whether a request is traced is its caller's to say (`traceparent`, W3C); of those that come without,
a share is. Spans are sent by a thread of the SDK's, which drops what its queue cannot hold.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.batcher import Answer, Job, MicroBatcher
from service.stores.circuit import Circuit
from service.stores.guarded import GuardedPipeline
from service.stores.pipeline import Pipeline
from service.stores.ratings import RepeatingPipeline
from service.stores.redis_link import RedisLink

EXPORT_TIMEOUT_S = 5.0


class Traces:
    """Traces requests and sends them to `endpoint` (OTLP over HTTP, the whole URL).

    `share` of the requests whose caller does not say are traced. The exporter must be installed.
    """

    def __init__(self, endpoint: str, share: float) -> None:
        # Imported here, for it brings an HTTP client of its own, which others need not load.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({"service.name": "usher"}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._propagator = TraceContextTextMapPropagator()
        self.tracer = self._provider.get_tracer("usher")

    @contextmanager
    def request(self, headers: Mapping[bytes, bytes]) -> Iterator[None]:
        """The span of a request, below its caller's if there is one."""
        carrier = {
            name.decode(): headers[name].decode("latin-1")
            for name in (b"traceparent", b"tracestate")
            if name in headers
        }
        with self.tracer.start_as_current_span(
            "request", context=self._propagator.extract(carrier), kind=SpanKind.SERVER
        ):
            yield

    def describe(
        self, method: str, route: str | None, path: str, status: int, request_id: str
    ) -> None:
        """Say what the current request was and how it ended; names are templates, never paths."""
        span = trace.get_current_span()
        span.update_name(f"{method} {route}" if route else method)
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route or "none",
                "url.path": path,
                "http.response.status_code": status,
                "usher.request_id": request_id,
            }
        )
        if status >= 500 or status == 0:
            span.set_status(Status(StatusCode.ERROR))

    def cache(self, link: RedisLink, circuit: Circuit) -> GuardedPipeline:
        """The way to the cache's Redis, traced."""
        return TracedCache(self.tracer, link, circuit)

    def ratings(self, link: RedisLink, at_once: int) -> RepeatingPipeline:
        """The way to the ratings Redis, traced."""
        return TracedRatings(self.tracer, link, at_once)

    def batcher(self, graph: str, *parts: Any) -> MicroBatcher[Any, Any]:
        """A traced micro-batcher of `parts`."""
        return TracedBatcher(self.tracer, graph, *parts)

    def close(self, timeout_s: float) -> None:
        """Send what waits, for at most `timeout_s`: a collector may not answer."""
        closing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        closing.start()
        closing.join(timeout_s)


class _Traced(Pipeline):
    """A pipeline whose callers wait within a span each, however many share an exchange."""

    tracer: Tracer
    role: str

    async def ask(self, *command: bytes | str | int) -> Any:
        """As the pipeline's, within a span by the command's name."""
        name = str(command[0])
        attributes = {"db.system.name": "redis", "db.operation.name": name}
        with self.tracer.start_as_current_span(
            f"{self.role} {name}", kind=SpanKind.CLIENT, attributes=attributes
        ):
            return await super().ask(*command)


class TracedCache(_Traced, GuardedPipeline):
    """The way to the cache's Redis, traced."""

    role = "cache"

    def __init__(self, tracer: Tracer, link: RedisLink, circuit: Circuit) -> None:
        super().__init__(link, circuit)
        self.tracer = tracer


class TracedRatings(_Traced, RepeatingPipeline):
    """The way to the ratings Redis, traced."""

    role = "ratings"

    def __init__(self, tracer: Tracer, link: RedisLink, at_once: int) -> None:
        super().__init__(link, at_once)
        self.tracer = tracer


class TracedBatcher(MicroBatcher[Job, Answer]):
    """A micro-batcher whose callers wait within a span, from joining the queue to their answer."""

    def __init__(self, tracer: Tracer, graph: str, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracer = tracer
        self._graph = graph

    async def submit(self, jobs: Sequence[Job]) -> list[Answer]:
        """As `MicroBatcher.submit`, within a span."""
        with self._tracer.start_as_current_span(
            f"graph {self._graph}", attributes={"usher.jobs": len(jobs)}
        ):
            return await super().submit(jobs)
