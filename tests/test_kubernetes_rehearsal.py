"""The runbook in a real Kubernetes: the service comes up, loses its pods, is rolled out and back,
and its keys are changed, while a pod of another namespace asks it.

What is run are the blocks of docs/operations.md, in order and as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.container_engine import REDIS, ContainerEngine
from tests.doc_blocks import Block, Checkout, blocks_of, tiny_data
from tests.kubernetes_cluster import CLUSTER, NAMESPACE, KubernetesCluster
from tests.service_fixtures import ROOT, await_condition

IMAGE = "registry.example.com/usher:0.1.0"
NEXT = "registry.example.com/usher:0.2.0"
TOP = "/users/1/recommendations"
RATINGS = "/users/newcomer/ratings"
SERVICE = "app.kubernetes.io/name=usher"
CLOSED = [
    ("stranger", "usher.usher", 80),
    ("caller", "usher-cache.usher", 6379),
    ("caller", "usher-ratings.usher", 6379),
]
IN_RATINGS = "kubectl -n usher exec -i usher-ratings-0 --"


@pytest.fixture
def checkout(
    tmp_path: Path, kubernetes_cluster: KubernetesCluster, container_engine: ContainerEngine
) -> Iterator[Checkout]:
    """With the image that the page has built, and pushed to where the nodes find it."""
    (tmp_path / "tree").mkdir()
    made = Checkout.make(tmp_path / "tree", tiny_data(tmp_path / "data"))
    made.environment.update(container_engine.environment | kubernetes_cluster.environment)
    made.shell(f"make container IMAGE={IMAGE}")
    container_engine.docker("tag", IMAGE, NEXT)
    for image in (IMAGE, NEXT, REDIS):
        kubernetes_cluster.load(image)
    yield made
    kubernetes_cluster.clear()  # before the images go that its pods run
    container_engine.docker("image", "rm", "--force", IMAGE, NEXT)


@dataclass(frozen=True)
class Operator:
    """Looks into the runbook's namespace, and asks the service as a caller would."""

    cluster: KubernetesCluster

    @property
    def keys(self) -> list[str]:
        """Those that pods are started with now, in order."""
        template = '{{index .data "api-keys" | base64decode}}'
        return self._get("secret", "usher-keys", template=template).split(",")

    @property
    def images(self) -> set[str]:
        """What the service's pods run, but for those that are ending."""
        template = (
            "{{range .items}}{{if not .metadata.deletionTimestamp}}"
            "{{(index .spec.containers 0).image}} {{end}}{{end}}"
        )
        return set(self._get("pods", "--selector", SERVICE, template=template).split())

    def replace_pods(self, label: str) -> None:
        self.cluster.kubectl("-n", NAMESPACE, "delete", "pod", "--selector", label)
        self.cluster.await_rollouts()

    def statuses(self, *keys: str | None) -> list[int]:
        """What callers with these keys, or none, are told."""
        return [self.cluster.ask("GET", TOP, key).status for key in keys]

    def rate(self, row: int, rating: float) -> str:
        """Rate an item of the catalogue; its id."""
        key = self.keys[-1]
        item: str = self.cluster.ask("GET", "/items", key).body["items"][row]["item_id"]
        answer = self.cluster.ask("PUT", f"{RATINGS}/{item}", key, {"rating": rating})
        assert answer.status < 300, answer.text
        return item

    @property
    def rated(self) -> dict[str, float]:
        """What was rated, once the service has found the ratings again."""
        key = self.keys[-1]
        await_condition(
            lambda: self.cluster.ask("GET", RATINGS, key).status == 200, "the ratings are read"
        )
        told = self.cluster.ask("GET", RATINGS, key).body["ratings"]
        return {rating["item_id"]: rating["rating"] for rating in told}

    def _get(self, *what: str, template: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, "get", *what, f"-o=go-template={template}")


def test_the_runbook_runs_in_a_cluster(
    checkout: Checkout, kubernetes_cluster: KubernetesCluster
) -> None:
    cluster, operator = kubernetes_cluster, Operator(kubernetes_cluster)
    blocks = blocks_of("docs/operations.md")
    create, undo, restore, beside, alone = (block for block in blocks if block.needs == CLUSTER)

    checkout.run(create)
    cluster.await_rollouts()
    cluster.await_replicas(2)  # the autoscaler's least
    cluster.start_callers(IMAGE)
    assert cluster.lets_through("caller", "usher.usher", 80)
    for pod, host, port in CLOSED:
        assert not cluster.lets_through(pod, host, port), "the network plugin enforces no policies"
    (old,) = operator.keys
    assert cluster.ask("GET", TOP, old).body["basis"] == "history"
    assert operator.statuses(None, "a-key-of-nobody-at-all") == [401, 401]
    await_condition(lambda: cluster.ask("GET", TOP, old).cache == "hit", "the cache answers")

    first = operator.rate(0, 4.5)
    for label in (SERVICE, "app.kubernetes.io/name=usher-ratings"):
        operator.replace_pods(label)
        assert operator.rated == {first: 4.5}

    _name_image(checkout, "0.2.0")
    with cluster.asking(TOP, old) as answers:
        checkout.shell("kubectl apply -k deploy/kubernetes/base")
        cluster.await_rollouts()
        assert operator.images == {NEXT}
        checkout.run(undo)
    assert operator.images == {IMAGE}
    assert answers.keys() == {"200"}, answers

    checkout.shell(_backup(blocks))
    second = operator.rate(1, 1.5)
    assert operator.rated == {first: 4.5, second: 1.5}
    checkout.run(restore)
    assert operator.rated == {first: 4.5}

    with cluster.asking(TOP, old) as answers:
        checkout.run(beside)
    assert answers.keys() == {"200"}, answers
    _, new = operator.keys
    assert operator.statuses(old, new) == [200, 200]
    with cluster.asking(TOP, new) as answers:
        checkout.run(alone)
    assert answers.keys() == {"200"}, answers
    assert operator.statuses(old, new) == [401, 200]

    checkout.shell("kubectl apply -k deploy/kubernetes/gpu --dry-run=server")


def _name_image(checkout: Checkout, tag: str) -> None:
    """As an operator does for a release."""
    file = checkout.folder / "deploy" / "kubernetes" / "base" / "kustomization.yaml"
    text = file.read_text()
    assert "newTag: 0.1.0\n" in text
    file.write_text(text.replace("newTag: 0.1.0\n", f"newTag: {tag}\n"))


def _backup(blocks: list[Block]) -> str:
    """Compose's backup as the page says that it is in a cluster."""
    (text,) = (block.text for block in blocks if "> ratings.tar" in block.text)
    compose, cluster = "docker compose -f deploy/compose.yaml exec -T ratings", IN_RATINGS
    assert text.startswith(compose)
    page = (ROOT / "docs" / "operations.md").read_text()
    assert f"In a cluster it is `{cluster} sh -c '...'`" in page
    return text.replace(compose, cluster)
