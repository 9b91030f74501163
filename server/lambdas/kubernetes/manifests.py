"""The objects of a lambda, as they are wanted.

They are plain values made of a program and settings alone, so that each can be compared with what is there at any time.
The pods satisfy the `restricted` level of the Pod Security Standards.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from decimal import Decimal

from server.settings import Lambdas

from . import network
from .drift import quantity
from .programs import Json, Program, selector_of

PREPARE = "prepare"
"""Container that builds."""
MAIN = "lambda"
"""Container that runs the lambda's code."""
HEALTH = "/.luna/health"
BUILD_FOLDER = "/lambda"
TEMPORARY_FOLDER = "/tmp"  # noqa: S108 - of the pod's own
BUILD_MEMORY = 512 << 20
"""Least memory of a build: pip needs more than a small lambda does."""
CPU_REQUEST = "100m"
"""Of a core: lambdas that wait for calls need next to nothing."""
LOG_SPACE = 128 << 20
"""Room on a node's disk for logs, which kubelet rotates at 10 MiB by default."""
UNLISTED_SECONDS = 3
"""A pod that stops goes on for so long, until every node knows that its Service has it no more."""
GRACE_SECONDS = 10
"""A pod that stops has so long: those seconds, and five in which the SDK lets calls finish."""
SLACK_SECONDS = 60
"""What finding a node and fetching the image may add to a build before a rollout counts as stuck."""
_USERS = (1_000_000, 1_000_000_000)
"""First user id of lambdas, and how many there are: each lambda has its own, far from those of images and nodes."""
_PROBE_SECONDS = 10

TOKEN_KEY, TICKET_KEY, INDEX_KEY = "token", "ticket", "index"


@dataclass(frozen=True, slots=True)
class Manifests:
    """Makes the objects of lambdas.

    Raises:
        Unreachable: at construction; no policy can name one of the places that a lambda needs.
    """

    settings: Lambdas
    host: network.Place
    platform: network.Place
    index: network.Place | None

    @classmethod
    def of(cls, settings: Lambdas) -> Manifests:
        """Under settings.

        Raises:
            Unreachable: no policy can name the platform or the host.
        """
        cluster = settings.kubernetes
        try:
            index = network.Place.parse(settings.index_url)
        except network.Unreachable:
            index = None
        return cls(
            settings=settings,
            host=network.Place.parse(cluster.archives, cluster.host_labels),
            platform=network.Place.parse(cluster.platform),
            index=index,
        )

    def around(self, program: Program) -> list[Json]:
        """Everything but the Deployment and what is secret, in the order in which it is made."""
        objects = [self.policy(program), self.service(program)]
        if program.pods > 1:
            objects.append(self.budget(program))
        return objects

    def policy(self, program: Program) -> Json:
        """The NetworkPolicy."""
        return network.policy(
            program, host=self.host, platform=self.platform, index=self.index, everywhere=self.settings.network
        )

    def secret(self, program: Program, *, token: str, ticket: str) -> Json:
        """The Secret: what the lambda calls the platform with, and what its build fetches with."""
        values = {TOKEN_KEY: token, TICKET_KEY: ticket, INDEX_KEY: self.settings.index_url}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": program.name, "labels": program.labels},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }

    def service(self, program: Program) -> Json:
        """The Service: pods of all versions that are ready."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": program.name, "labels": program.labels},
            "spec": {
                "type": "ClusterIP",
                "selector": selector_of(program.lambda_id),
                "ports": [{"name": "http", "protocol": "TCP", "port": network.PORT, "targetPort": network.PORT}],
            },
        }

    def budget(self, program: Program) -> Json:
        """The PodDisruptionBudget: of several pods one is moved at a time. With one for a single pod no node drains."""
        return {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": program.name, "labels": program.labels},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector_of(program.lambda_id)}},
        }

    def deployment(self, program: Program, replicas: int) -> Json:
        """The Deployment. Pods of the version before stay until as many of this one are ready."""
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": program.name, "labels": program.labels, "annotations": program.annotations},
            "spec": {
                "replicas": replicas,
                "revisionHistoryLimit": 1,
                "progressDeadlineSeconds": math.ceil(
                    self.settings.build_seconds + self.settings.start_seconds + SLACK_SECONDS
                ),
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "selector": {"matchLabels": selector_of(program.lambda_id)},
                "template": {"metadata": {"labels": program.labels}, "spec": self._pod(program)},
            },
        }

    def _pod(self, program: Program) -> Json:
        first, count = _USERS
        user = first + program.lambda_id.int % count
        spec: Json = {
            "restartPolicy": "Always",
            "serviceAccountName": "default",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": user,
                "fsGroup": user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [self._prepare(program)],
            "containers": [self._main(program)],
            "volumes": [
                {"name": "build", "emptyDir": {"sizeLimit": str(self.settings.build_max_bytes)}},
                # in memory, so that the limit holds at once; what it has counts as the container's memory
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": str(self.settings.temporary_bytes)}},
            ],
        }
        if self.settings.kubernetes.pull_secret:
            spec["imagePullSecrets"] = [{"name": self.settings.kubernetes.pull_secret}]
        return spec

    def _prepare(self, program: Program) -> Json:
        lambdas = self.settings
        variables = {
            "LUNA_LAMBDA_ID": str(program.lambda_id),
            "LUNA_LAMBDA_VERSION": str(program.version),
            "LUNA_LAMBDA_DIGEST": program.digest,
            "LUNA_LAMBDAS__KUBERNETES__ARCHIVES": lambdas.kubernetes.archives,
            "LUNA_LAMBDAS__REQUIREMENTS": ",".join(lambdas.requirements),
            "LUNA_LAMBDAS__ARCHIVE_MAX_BYTES": str(lambdas.archive_max_bytes),
            "LUNA_LAMBDAS__ARCHIVE_MAX_UNPACKED_BYTES": str(lambdas.archive_max_unpacked_bytes),
            "LUNA_LAMBDAS__ARCHIVE_MAX_FILES": str(lambdas.archive_max_files),
            "LUNA_LAMBDAS__ARCHIVE_MAX_RATIO": str(lambdas.archive_max_ratio),
            "LUNA_LAMBDAS__BUILD_SECONDS": str(lambdas.build_seconds),
            "LUNA_LAMBDAS__BUILD_MAX_BYTES": str(lambdas.build_max_bytes),
            "LUNA_LAMBDAS__LOG_BYTES": str(lambdas.log_bytes),
        }
        if lambdas.wheels is not None:
            variables["LUNA_LAMBDAS__WHEELS"] = str(lambdas.wheels)
        secrets = {"LUNA_LAMBDA_TICKET": TICKET_KEY, "LUNA_LAMBDAS__INDEX_URL": INDEX_KEY}
        return {
            "name": PREPARE,
            "image": lambdas.kubernetes.image,
            "command": ["python", "-P", "-m", "server.lambdas.kubernetes.prepare", BUILD_FOLDER],
            "env": _env(program, variables, secrets),
            "volumeMounts": [{"name": "build", "mountPath": BUILD_FOLDER}, _TEMPORARY],
            "resources": self._resources(max(lambdas.memory_bytes, BUILD_MEMORY)),
            "securityContext": _CONTAINED,
        }

    def _main(self, program: Program) -> Json:
        lambdas = self.settings
        variables = {
            "LUNA_LAMBDA_ID": str(program.lambda_id),
            "LUNA_LAMBDA_VERSION": str(program.version),
            "LUNA_LAMBDA_ACCOUNT": str(program.account_id),
            "LUNA_LAMBDA_TYPE": program.lambda_type.value,
            "LUNA_LAMBDA_CODE": f"{BUILD_FOLDER}/code",
            "LUNA_LAMBDA_PORT": str(network.PORT),
            "LUNA_LAMBDA_PLATFORM": lambdas.kubernetes.platform,
            "LUNA_LAMBDA_REQUEST_BYTES": str(lambdas.request_max_bytes),
            # pods of a lambda on one node share their user, and with it the count of its processes
            "LUNA_LAMBDA_PROCESSES": str(lambdas.processes * (program.pods + 1)),
            "LUNA_LAMBDA_FILES": str(lambdas.files),
        }
        probe = {"httpGet": {"path": HEALTH, "port": network.PORT}}
        return {
            "name": MAIN,
            "image": lambdas.kubernetes.image,
            "command": ["python", "-P", "-m", "server.lambdas.kubernetes.launch", BUILD_FOLDER],
            "workingDir": TEMPORARY_FOLDER,
            "env": _env(program, variables, {"LUNA_LAMBDA_TOKEN": TOKEN_KEY}),
            "ports": [{"name": "http", "containerPort": network.PORT, "protocol": "TCP"}],
            "volumeMounts": [{"name": "build", "mountPath": BUILD_FOLDER, "readOnly": True}, _TEMPORARY],
            "resources": self._resources(lambdas.memory_bytes),
            "securityContext": _CONTAINED,
            "startupProbe": {
                **probe,
                "periodSeconds": 1,
                "timeoutSeconds": 1,
                "failureThreshold": max(1, math.ceil(lambdas.start_seconds)),
            },
            "readinessProbe": {**probe, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(UNLISTED_SECONDS)]}}},
            # a lambda that computes for the length of a call does not answer meanwhile, and is not dead
            "livenessProbe": {
                **probe,
                "periodSeconds": _PROBE_SECONDS,
                "timeoutSeconds": 5,
                "failureThreshold": 1 + math.ceil(lambdas.call_seconds / _PROBE_SECONDS),
            },
        }

    def _resources(self, memory: int) -> Json:
        """Memory and disk that a lambda may use are kept for it, so that no neighbour pays; cores are shared."""
        disk = str(self.settings.build_max_bytes + LOG_SPACE)
        limits = {"cpu": self.settings.kubernetes.cpu, "memory": str(memory), "ephemeral-storage": disk}
        least = min(self.settings.kubernetes.cpu, CPU_REQUEST, key=_cores)
        return {"requests": {**limits, "cpu": least}, "limits": limits}


_TEMPORARY: Json = {"name": "tmp", "mountPath": TEMPORARY_FOLDER}

_CONTAINED: Json = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _env(program: Program, variables: dict[str, str], secrets: dict[str, str]) -> list[Json]:
    plain: list[Json] = [{"name": name, "value": value} for name, value in variables.items()]
    return plain + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": program.name, "key": key}}}
        for name, key in secrets.items()
    ]


def _cores(text: str) -> Decimal:
    return quantity(text) or Decimal(0)
