"""What a cluster tells of a lambda, and what that means in LUNA's words.

Source of the fields: reference of the API, PodStatus, ContainerStatus and DeploymentStatus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from server.domain.lambdas import ImageStatus, LambdaStatus

from .manifests import MAIN, PREPARE
from .outcomes import REFUSED
from .programs import Json, Program, version_of

NO_SECRET = "CreateContainerConfigError"  # noqa: S105 - a reason
"""A container cannot be made, because what its variables come from is not there."""


@dataclass(frozen=True, slots=True)
class Container:
    """How a container is.

    Attributes:
        exit_code: of its last end; None while it has never ended.
        ended: it does not run, after it has ended.
        reason: why it waits or ended, in a word: CrashLoopBackOff, OOMKilled.
        message: the same in a sentence.
        cause: why it last ended, in a word: OOMKilled.
        restarts: how often it was started again.
    """

    running: bool = False
    ended: bool = False
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    cause: str = ""
    restarts: int = 0

    @classmethod
    def read(cls, status: Json) -> Self:
        """From a ContainerStatus."""
        state: Json = status.get("state") or {}
        ended: Json | None = state.get("terminated")
        last: Json | None = ended or (status.get("lastState") or {}).get("terminated")
        told: Json = ended or state.get("waiting") or {}
        return cls(
            running=state.get("running") is not None,
            ended=ended is not None or (state.get("running") is None and last is not None),
            exit_code=None if last is None else int(last.get("exitCode", 0)),
            reason=str(told.get("reason") or ""),
            message=str(told.get("message") or ""),
            cause=str((last or {}).get("reason") or ""),
            restarts=int(status.get("restartCount") or 0),
        )


@dataclass(frozen=True, slots=True)
class Pod:
    """How a pod is.

    Attributes:
        failed: it will not run any more: a node threw it out. `message` says why.
        leaving: it is being deleted.
    """

    name: str
    version: int
    ready: bool = False
    leaving: bool = False
    failed: bool = False
    message: str = ""
    prepare: Container = field(default_factory=Container)
    main: Container = field(default_factory=Container)

    @classmethod
    def read(cls, live: Json) -> Self:
        """From a Pod."""
        metadata, status = live["metadata"], live.get("status") or {}
        leaving = bool(metadata.get("deletionTimestamp"))
        conditions = _conditions(status)
        scheduled = conditions.get("PodScheduled", {})
        message = status.get("message") or (scheduled.get("message") if scheduled.get("status") == "False" else "")
        return cls(
            name=metadata["name"],
            version=version_of(live),
            ready=not leaving and conditions.get("Ready", {}).get("status") == "True",
            leaving=leaving,
            failed=status.get("phase") in ("Failed", "Succeeded"),
            message=str(message or ""),
            prepare=_container(status.get("initContainerStatuses"), PREPARE),
            main=_container(status.get("containerStatuses"), MAIN),
        )

    @property
    def built(self) -> bool:
        """Its init container has done its work."""
        return self.prepare.ended and self.prepare.exit_code == 0

    @property
    def spoilt(self) -> bool:
        """Its build has failed at least once, and not succeeded since."""
        if self.built:
            return False
        return self.failed or (self.prepare.exit_code is not None and self.prepare.exit_code != 0)

    @property
    def refused(self) -> bool:
        """It lacks its Secret, or has an old one."""
        no_secret = NO_SECRET in (self.prepare.reason, self.main.reason)
        return no_secret or (not self.built and self.prepare.exit_code == REFUSED)

    @property
    def crashed(self) -> bool:
        """The lambda's own process has ended by itself, and does not answer again yet."""
        if self.ready or self.leaving:
            return False
        return (self.failed and self.built) or self.main.ended or self.main.restarts > 0

    @property
    def trouble(self) -> str:
        """Why it does not get on, for people; empty where it does."""
        for container in (self.prepare, self.main):
            if container.ended and container.exit_code:
                return f"{container.cause or 'Error'}, exit status {container.exit_code}"
            if container.reason and container.reason not in ("PodInitializing", "ContainerCreating", "Completed"):
                return f"{container.reason}: {container.message}" if container.message else container.reason
        return self.message


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a Deployment is.

    Attributes:
        replicas: pods that it was last told to have.
        stuck: why it does not get on, once it has had its time; empty before.
    """

    replicas: int
    stuck: str = ""

    @classmethod
    def read(cls, live: Json) -> Self:
        """From a Deployment."""
        status = live.get("status") or {}
        current = int(status.get("observedGeneration") or 0) >= int(live["metadata"].get("generation") or 0)
        conditions = _conditions(status)
        progress, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
        stuck = ""
        if current and progress.get("status") == "False":
            stuck = str(failure.get("message") or progress.get("message") or "the rollout does not get on")
        return cls(replicas=int(live.get("spec", {}).get("replicas", 1)), stuck=stuck)


def newest(program: Program, pods: Iterable[Pod]) -> list[Pod]:
    """The pods of a program's version that are not on their way out."""
    return [pod for pod in pods if pod.version == program.version and not pod.leaving]


def image_status(pods: Iterable[Pod], before: ImageStatus | None, stuck: str) -> ImageStatus:
    """How far the build of a version is.

    What has once been built stays so, whatever a later pod's build does: each pod builds for itself.

    Args:
        pods: of the version.
        before: what was found before.
        stuck: why the rollout has stopped; empty where it has not.
    """
    found = list(pods)
    if before is ImageStatus.COMPLETED or any(pod.built for pod in found):
        return ImageStatus.COMPLETED
    if before is ImageStatus.ERROR or stuck or any(pod.spoilt and not pod.refused for pod in found):
        return ImageStatus.ERROR
    return ImageStatus.IN_PROGRESS


def lambda_status(pods: Iterable[Pod], image: ImageStatus, *, asleep: bool) -> LambdaStatus:
    """Whether a version runs.

    Args:
        pods: of the version.
        image: how far its build is.
        asleep: it was stopped because nobody called it; the next call starts it, so that it counts as running.
    """
    found = list(pods)
    if image is not ImageStatus.COMPLETED:
        return LambdaStatus.WAITING
    if any(pod.ready for pod in found):
        return LambdaStatus.RUNNING
    if any(pod.crashed for pod in found):
        return LambdaStatus.TERMINATED
    return LambdaStatus.RUNNING if asleep else LambdaStatus.WAITING


def _container(statuses: list[Json] | None, name: str) -> Container:
    return next((Container.read(one) for one in statuses or [] if one.get("name") == name), Container())


def _conditions(status: Json) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in status.get("conditions") or []}
