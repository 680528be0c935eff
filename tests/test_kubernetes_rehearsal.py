"""The runbook in a real Kubernetes: the service comes up, loses its pods, is rolled out and back,
and its keys are changed, while a pod of another namespace asks it.

What is run are the blocks of docs/operations.md, in order and as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container_engine import REDIS, ContainerEngine
from tests.doc_blocks import Checkout, blocks_of, tiny_data
from tests.kubernetes_cluster import CLUSTER, NAMESPACE, KubernetesCluster
from tests.service_fixtures import await_condition

IMAGE = "registry.example.com/usher:0.1.0"
NEXT = "registry.example.com/usher:0.2.0"
TOP = "/users/1/recommendations"
RATINGS = "/users/newcomer/ratings"


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


def keys_of(cluster: KubernetesCluster) -> list[str]:
    """The keys that pods are started with now."""
    template = '{{index .data "api-keys" | base64decode}}'
    said = cluster.kubectl(
        "-n", NAMESPACE, "get", "secret", "usher-keys", "-o", f"go-template={template}"
    )
    return said.split(",")


def image_of(cluster: KubernetesCluster) -> set[str]:
    """What the service's pods run, but for those that are ending."""
    template = (
        "{{range .items}}{{if not .metadata.deletionTimestamp}}"
        "{{(index .spec.containers 0).image}} {{end}}{{end}}"
    )
    return set(
        cluster.kubectl(
            "-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=usher",
            "-o", f"go-template={template}",
        ).split()
    )  # fmt: skip


def test_the_runbook_runs_in_a_cluster(
    checkout: Checkout, kubernetes_cluster: KubernetesCluster
) -> None:
    cluster = kubernetes_cluster
    create, undo, beside, alone = (
        block for block in blocks_of("docs/operations.md") if block.needs == CLUSTER
    )
    checkout.run(create)
    cluster.await_rollouts()
    cluster.start_caller(IMAGE)
    (old,) = keys_of(cluster)
    assert cluster.ask("GET", TOP, old).body["basis"] == "history"
    assert cluster.ask("GET", TOP, None).status == 401
    await_condition(lambda: cluster.ask("GET", TOP, old).cache == "hit", "the cache answers")

    _ratings_outlive_pods(cluster, old)

    _name_image(checkout, "0.2.0")
    with cluster.asking(TOP, old) as answers:
        checkout.shell("kubectl apply -k deploy/kubernetes/base")
        cluster.await_rollouts()
        assert image_of(cluster) == {NEXT}
        checkout.run(undo)
    assert image_of(cluster) == {IMAGE}
    assert answers.keys() == {"200"}, answers

    with cluster.asking(TOP, old) as answers:
        checkout.run(beside)
    assert answers.keys() == {"200"}, answers
    _, new = keys_of(cluster)
    assert [cluster.ask("GET", TOP, key).status for key in (old, new)] == [200, 200]
    with cluster.asking(TOP, new) as answers:
        checkout.run(alone)
    assert answers.keys() == {"200"}, answers
    assert keys_of(cluster) == [new]
    assert [cluster.ask("GET", TOP, key).status for key in (old, new)] == [401, 200]

    checkout.shell("kubectl apply -k deploy/kubernetes/gpu --dry-run=server")


def _ratings_outlive_pods(cluster: KubernetesCluster, key: str) -> None:
    item = cluster.ask("GET", "/items", key).body["items"][0]["item_id"]
    cluster.ask("PUT", f"{RATINGS}/{item}", key, {"rating": 4.5})
    for pods in ("usher", "usher-ratings"):
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", "-l", f"app.kubernetes.io/name={pods}")
        cluster.await_rollouts()
        await_condition(
            lambda: cluster.ask("GET", RATINGS, key).status == 200, "the ratings are read"
        )
        (kept,) = cluster.ask("GET", RATINGS, key).body["ratings"]
        assert (kept["item_id"], kept["rating"]) == (item, 4.5)


def _name_image(checkout: Checkout, tag: str) -> None:
    """As an operator does for a release."""
    file = checkout.folder / "deploy" / "kubernetes" / "base" / "kustomization.yaml"
    text = file.read_text()
    assert "newTag: 0.1.0\n" in text
    file.write_text(text.replace("newTag: 0.1.0\n", f"newTag: {tag}\n"))
