"""deploy/kubernetes: valid to the letter, and the parts fit each other and the service."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.deployment import DEPLOY, Document, compose, containers, kustomized, pod_of
from tests.service_fixtures import Service
from tests.test_compose import VALUES

KUBERNETES = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.30", "1.37"  # preStop.sleep is on by default from 1.30
SECRETS = {
    ("usher-keys", "api-keys"),
    ("usher-redis", "cache-password"),
    ("usher-redis", "ratings-password"),
}


@pytest.fixture(params=["base", "gpu"])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return kustomized(KUBERNETES / request.param)


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = (d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))
    return found


def usher(documents: list[Document]) -> Document:
    """The service's only container."""
    (container,) = containers(one(documents, "Deployment", "usher"))
    return container


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(documents: list[Document], version: str) -> None:
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    wrong = one(documents, "Deployment", "usher")
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_every_file_is_applied() -> None:
    files = {path.name for path in (KUBERNETES / "base").glob("*.yaml")}
    said = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    assert set(said["resources"]) == files - {"kustomization.yaml"}


def test_every_pod_is_confined(documents: list[Document]) -> None:
    made = [document for document in documents if pod_of(document)]
    assert len(made) == 3
    for document in made:
        pod = pod_of(document)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert {"readinessProbe", "livenessProbe"} <= container.keys()
            assert re.search(r":\d+\.\d+\.\d+", container["image"]), container["image"]


def test_secrets_are_named_and_never_told(documents: list[Document]) -> None:
    assert all(document["kind"] != "Secret" for document in documents)
    named = set()
    for document in documents:
        for container in containers(document):
            for variable in container["env"]:
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    named.add((reference["name"], reference["key"]))
                else:
                    assert re.fullmatch(r"redis://:\$\(\w+\)@usher-\w+:6379/0", variable["value"])
    assert named == SECRETS


def test_every_secret_is_made_by_a_command_in_the_docs() -> None:
    text = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for name, key in SECRETS:
        assert re.search(rf"create secret generic {name}(\s|\\)[^`]*--from-literal={key}=", text), (
            key
        )


def test_the_service_understands_its_settings(documents: list[Document]) -> None:
    settings: dict[str, Any] = one(documents, "ConfigMap", "usher-settings")["data"]
    variables = {
        variable["name"]: variable.get("value", "") for variable in usher(documents)["env"]
    }
    named = [name for name in [*settings, *variables] if name.startswith("USHER_")]
    assert {name.removeprefix("USHER_").lower() for name in named} <= Settings.model_fields.keys()
    given = settings | {name: value for name, value in variables.items() if value}
    Settings.model_validate(
        {name.removeprefix("USHER_").lower(): v for name, v in given.items() if name in named}
    )
    declared = list(variables)
    for name, value in variables.items():
        for used in re.findall(r"\$\((\w+)\)", value):  # only what comes before is filled in
            assert declared.index(used) < declared.index(name)


def test_selectors_find_the_pods_they_mean(documents: list[Document]) -> None:
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for document in documents
        if pod_of(document)
    }
    for document in documents:
        name, spec = document["metadata"]["name"], document.get("spec", {})
        match document["kind"]:
            case "Deployment" | "StatefulSet" | "PodDisruptionBudget":
                assert spec["selector"]["matchLabels"] == labels[name]
            case "Service":
                assert spec["selector"] == labels[name]
    spread = pod_of(one(documents, "Deployment", "usher"))["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == labels["usher"]


def test_ports_lead_to_ports(documents: list[Document]) -> None:
    ports = {
        document["metadata"]["name"]: {p["name"]: p["containerPort"] for p in container["ports"]}
        for document in documents
        for container in containers(document)
    }
    for document in (d for d in documents if d["kind"] == "Service"):
        for port in document["spec"]["ports"]:
            assert port["targetPort"] in ports[document["metadata"]["name"]]
    assert ports == {
        "usher": {"http": 3000},
        "usher-cache": {"redis": 6379},
        "usher-ratings": {"redis": 6379},
    }
    for variable in usher(documents)["env"]:
        for host in re.findall(r"@([\w-]+):6379", variable.get("value", "")):
            assert one(documents, "Service", host)["spec"]["ports"][0]["port"] == 6379
    scaled = one(documents, "HorizontalPodAutoscaler", "usher")["spec"]["scaleTargetRef"]
    assert one(documents, scaled["kind"], scaled["name"])["apiVersion"] == scaled["apiVersion"]


def test_probes_ask_what_the_service_answers(documents: list[Document], service: Service) -> None:
    container = usher(documents)
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    annotations = one(documents, "Deployment", "usher")["spec"]["template"]["metadata"][
        "annotations"
    ]
    paths = {probe["path"] for probe in probes} | {annotations["prometheus.io/path"]}
    assert paths == {"/readyz", "/livez", "/metrics"}
    for path in paths:
        assert service.client.get(path).status_code == 200
    assert {probe["port"] for probe in probes} == {"http"}
    assert int(annotations["prometheus.io/port"]) == 3000


def test_there_is_always_one_that_answers(documents: list[Document]) -> None:
    assert one(documents, "HorizontalPodAutoscaler", "usher")["spec"]["minReplicas"] >= 2
    deployment = one(documents, "Deployment", "usher")["spec"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in deployment  # or every apply would undo what the autoscaler decided
    assert one(documents, "PodDisruptionBudget", "usher")["spec"]["maxUnavailable"] == 1
    grace = pod_of(one(documents, "Deployment", "usher"))["terminationGracePeriodSeconds"]
    pause = usher(documents)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert grace - pause > Settings.model_fields["request_timeout_s"].default + 4


def test_a_rollout_gives_up_no_sooner_than_its_pods(documents: list[Document]) -> None:
    probe = usher(documents)["startupProbe"]
    deadline = one(documents, "Deployment", "usher")["spec"]["progressDeadlineSeconds"]
    assert deadline > probe["periodSeconds"] * probe["failureThreshold"]


def test_the_network_is_closed_but_for_what_is_needed(documents: list[Document]) -> None:
    nobody = one(documents, "NetworkPolicy", "nobody")["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ours = one(documents, "NetworkPolicy", "usher")["spec"]
    assert [rule["ports"][0]["port"] for rule in ours["ingress"]] == [3000]
    assert sorted(port["port"] for rule in ours["egress"] for port in rule["ports"]) == [
        53,
        53,
        6379,
    ]
    theirs = one(documents, "NetworkPolicy", "redis")["spec"]
    (rule,) = theirs["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "usher"}}}]
    assert "egress" not in theirs


@pytest.mark.parametrize("name", ["cache", "ratings"])
def test_its_redis_are_run_as_compose_s_are(documents: list[Document], name: str) -> None:
    """Theirs are started for real in test_compose."""
    kind = "StatefulSet" if name == "ratings" else "Deployment"
    (container,) = containers(one(documents, kind, f"usher-{name}"))
    theirs = compose("compose.yaml", VALUES)["services"][name]
    password = theirs["environment"]["REDISCLI_AUTH"]
    assert container["command"] == theirs["entrypoint"]
    args = [password if word == "$(REDISCLI_AUTH)" else word for word in container["args"]]
    assert args == theirs["command"]
    assert container["image"] == theirs["image"]


def test_a_gpu_pod_has_one_and_waits_for_its_engines() -> None:
    plain, gpu = (usher(kustomized(KUBERNETES / name)) for name in ("base", "gpu"))
    assert plain["image"] == "registry.example.com/usher:0.1.0"
    assert gpu["image"] == "registry.example.com/usher-gpu:0.1.0"
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    settings = one(kustomized(KUBERNETES / "gpu"), "ConfigMap", "usher-settings")["data"]
    assert settings["USHER_PROVIDERS"] == "tensorrt,cuda"
    assert settings["USHER_ENGINE_CACHE"] in {mount["mountPath"] for mount in gpu["volumeMounts"]}
    probe = gpu["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 600
