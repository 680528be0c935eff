"""A real Kubernetes for tests: the context that is asked for, and a caller of the service in it.

Nothing is touched that the tests did not make: where the runbook's namespace exists already, they
refuse. The caller is a pod of the service's own image in a namespace of its own, with the label
that lets it in.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLUSTER = "a cluster"
"""What blocks of the pages call it that are run with one."""
ASKED = "TEST_CLUSTER"
LOAD = "TEST_CLUSTER_LOAD"
NAMESPACE = "usher"
CALLERS = "usher-test-callers"
# One request to the documented address, or many until its standard input ends.
ASK = """
import collections, json, select, sys, urllib.error, urllib.request

def ask(method, path, key, body):
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request("http://usher.usher/v1" + path, data, headers, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=15)
    except urllib.error.HTTPError as refusal:
        answer = refusal
    return answer.status, answer.headers["X-Cache"], answer.read().decode()

def seen(*request):
    try:
        return str(ask(*request)[0])
    except OSError as error:
        return repr(error)

request = json.loads(sys.argv[2])
if sys.argv[1] == "once":
    print(json.dumps(ask(*request)))
else:
    answers = collections.Counter()
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        answers[seen(*request)] += 1
    print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Answer:
    """What the service said: the status, `X-Cache`, the body."""

    status: int
    cache: str | None
    text: str

    @property
    def body(self) -> Any:
        """The JSON of an answer that is no refusal."""
        assert self.status < 300, self.text
        return json.loads(self.text) if self.text else None


@dataclass(frozen=True)
class KubernetesCluster:
    """environment: what makes `kubectl` ask the cluster of the tests."""

    environment: dict[str, str]

    def kubectl(self, *words: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            ["kubectl", *words], env=os.environ | self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def load(self, image: str) -> None:
        """Bring an image of the local engine to the nodes, unless that is theirs too."""
        if command := os.environ.get(LOAD):
            subprocess.run([*shlex.split(command), image], check=True, stdout=subprocess.DEVNULL)

    def await_rollouts(self) -> None:
        """Wait until every pod of the service and both Redis is the newest and ready."""
        for name in ("deployment/usher", "deployment/usher-cache", "statefulset/usher-ratings"):
            self.kubectl("-n", NAMESPACE, "rollout", "status", name, "--timeout=300s")

    def await_replicas(self, count: int) -> None:
        """Wait until so many of the service's pods are ready."""
        ready = f"--for=jsonpath={{.status.readyReplicas}}={count}"
        self.kubectl("-n", NAMESPACE, "wait", ready, "deployment/usher", "--timeout=300s")

    def start_callers(self, image: str) -> None:
        """Have a pod that may call the service, and one that may not."""
        self.kubectl("create", "namespace", CALLERS)
        for name, labels in (("caller", ["--labels=usher-client=true"]), ("stranger", [])):
            self.kubectl(
                "-n", CALLERS, "run", name, f"--image={image}", *labels,
                "--command", "--", "sh", "-c", "trap exit TERM; sleep infinity & wait",
            )  # fmt: skip
        self.kubectl(
            "-n", CALLERS, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s"
        )

    def lets_through(self, pod: str, host: str, port: int) -> bool:
        """Whether one of those pods can connect at all."""
        tried = f"import socket; socket.create_connection(({host!r}, {port}), timeout=5)"
        command = ["kubectl", "-n", CALLERS, "exec", pod, "--", "python", "-c", tried]
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0 or "TimeoutError" in done.stderr, done.stderr
        return done.returncode == 0

    def ask(self, method: str, path: str, key: str | None, body: Any = None) -> Answer:
        """One request of the caller, by the service's name."""
        request = json.dumps([method, path, key, body])
        said = self.kubectl(*self._in_caller("once", request))
        return Answer(*json.loads(said))

    @contextmanager
    def asking(self, path: str, key: str) -> Iterator[dict[str, int]]:
        """Ask all the time; afterwards how often each status or failure was the answer."""
        answers: dict[str, int] = {}
        command = ["kubectl", *self._in_caller("always", json.dumps(["GET", path, key, None]))]
        with subprocess.Popen(
            command, env=os.environ | self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as running:  # fmt: skip
            try:
                yield answers
            finally:  # its standard input ends, and with it the questions
                said, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        answers |= json.loads(said)

    def clear(self) -> None:
        """Remove all that was made, volumes of the ratings too."""
        self.kubectl("delete", "namespace", NAMESPACE, CALLERS, "--ignore-not-found")

    def _in_caller(self, *words: str) -> list[str]:
        return ["-n", CALLERS, "exec", "-i", "caller", "--", "python", "-c", ASK, *words]


@pytest.fixture(scope="session")
def kubernetes_cluster(tmp_path_factory: pytest.TempPathFactory) -> KubernetesCluster:
    """The cluster that is asked for; whoever uses it clears it."""
    context = os.environ.get(ASKED)
    if not context:
        # Not unasked: it makes namespaces in whatever cluster kubectl speaks to, and CI has none.
        pytest.skip(f"runs the service in a Kubernetes for minutes; {ASKED}=CONTEXT asks for it")
    assert shutil.which("kubectl") is not None, f"{ASKED} is set, and there is no kubectl"
    config = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    _write_config(context, config)
    cluster = KubernetesCluster({"KUBECONFIG": str(config)})
    there = cluster.kubectl("get", "namespaces", "-o", "name").split()
    for namespace in (NAMESPACE, CALLERS):
        assert f"namespace/{namespace}" not in there, f"{context} has {namespace}: not the tests'"
    return cluster


def _write_config(context: str, path: Path) -> None:
    """The blocks name no context: theirs is the only one there is."""
    command = ["kubectl", "config", "view", "--minify", "--flatten", "--raw"]
    done = subprocess.run([*command, f"--context={context}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path.touch(mode=0o600)
    path.write_text(done.stdout)
