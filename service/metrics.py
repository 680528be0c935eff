"""What the service counts for the person on call, as Prometheus metrics.

Made inside a worker, after BentoML has named the folder in which workers share their counts;
BentoML's own request metrics are off, for they keep one series per address and an address here
holds a user's id. Labels are few and bounded: route templates, never paths.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
JOBS = (1, 2, 4, 8, 16, 32, 64, 128)


class Outcomes:
    """A counter with one label, whose series are found by a dictionary: `labels` takes a lock."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._series: dict[str, Counter] = {}

    def labels(self, value: str) -> Counter:
        """The series of one value of the label."""
        series = self._series.get(value)
        if series is None:
            series = self._series[value] = self._counter.labels(value)
        return series


class GraphMetrics:
    """What one graph's micro-batcher counts."""

    def __init__(self, metrics: Metrics, graph: str) -> None:
        self.batch = metrics.batch_jobs.labels(graph)
        self.waiting = metrics.waiting_jobs.labels(graph)
        self.refused = metrics.refused_requests.labels(graph)


class Metrics:
    """Every counter of a worker."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "usher_requests_total",
            "Requests by route, status and cache state.",
            ["route", "status", "cache"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "usher_request_seconds",
            "Time to answer, by route and cache state.",
            ["route", "cache"],
            buckets=SECONDS,
            registry=registry,
        )
        self.cache_reads = Outcomes(
            Counter(
                "usher_cache_reads_total",
                "Reads of the cache: hit, miss, failed, foreign (not the key's), rested.",
                ["outcome"],
                registry=registry,
            )
        )
        self.cache_writes = Outcomes(
            Counter(
                "usher_cache_writes_total",
                "Writes to the cache: stored, failed, rested.",
                ["outcome"],
                registry=registry,
            )
        )
        self.ratings_commands = Counter(
            "usher_ratings_commands_total",
            "Commands to the ratings Redis by kind (read, write) and outcome (done, failed).",
            ["kind", "outcome"],
            registry=registry,
        )
        self.answers = Outcomes(
            Counter(
                "usher_answers_computed_total",
                "Histories answered by the model, by basis.",
                ["basis"],
                registry=registry,
            )
        )
        self.batch_jobs = Histogram(
            "usher_batch_jobs",
            "Jobs that shared one run of a graph.",
            ["graph"],
            buckets=JOBS,
            registry=registry,
        )
        self.waiting_jobs = Gauge(
            "usher_waiting_jobs",
            "Jobs waiting for a graph.",
            ["graph"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.refused_requests = Counter(
            "usher_refused_requests_total",
            "Requests refused because the queue was full.",
            ["graph"],
            registry=registry,
        )
        self.refused_keys = Counter(
            "usher_refused_keys_total",
            "Requests refused for their API key: missing, wrong.",
            ["reason"],
            registry=registry,
        )
        self.dropped_lines = Counter(
            "usher_access_log_dropped_lines_total",
            "Lines of the access log that nobody read in time.",
            registry=registry,
        )
        self.model = Gauge(
            "usher_model_info",
            "1 for the model a worker answers with.",
            ["version", "digest", "provider"],
            multiprocess_mode="livemax",
            registry=registry,
        )

        self.swaps = Counter(
            "usher_model_swaps_total",
            "Models that were pointed at while the service ran: done, refused.",
            ["outcome"],
            registry=registry,
        )
        self._series: dict[tuple[str, int, str], tuple[Counter, Histogram]] = {}

    def count_request(self, route: str, status: int, cache: str, seconds: float) -> None:
        """Count a request that was answered. Its series are few, and finding them anew is dear."""
        labels = (route, status, cache)
        series = self._series.get(labels)
        if series is None:
            series = (
                self.requests.labels(route, str(status), cache),
                self.request_seconds.labels(route, cache),
            )
            self._series[labels] = series
        counter, histogram = series
        counter.inc()
        histogram.observe(seconds)

    def of_graph(self, graph: str) -> GraphMetrics:
        """The counters of one graph."""
        return GraphMetrics(self, graph)
