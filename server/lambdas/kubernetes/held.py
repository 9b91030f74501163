"""What is known of one lambda of a cluster, and what follows from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from server.domain.lambdas import Deployment, ImageStatus, LambdaState, LambdaStatus

from .outcomes import BAD
from .programs import Json, Program
from .records import Record, Report
from .seen import Pod, Rollout, image_status, lambda_status, newest

ISOLATION = "kubernetes"


@dataclass(slots=True, eq=False)
class Held:
    """One lambda.

    Attributes:
        wanted: a version that the cluster has not been told of yet.
        program: the version that it has been told of.
        live: its Deployment, as last seen.
        events: how often it was seen.
        live_log: lines of a build that goes on.
        report: what the build of `program` has said of itself.
        last_logs: what it had written when it was stopped for idleness.
        asleep: it was stopped, because nobody called it.
        given_up: its build failed for good, and nothing of a version before it runs.
        waking: it is started again after it was asleep.
        leaving: it is being deleted.
        lost_until: the host has to deploy it once more; in the time of the loop.
        turned: set, and replaced, with every change of what is known.
    """

    lambda_id: UUID
    wanted: Deployment | None = None
    program: Program | None = None
    live: Json | None = None
    events: int = 0
    pods: dict[str, Pod] = field(default_factory=dict)
    record: Record | None = None
    report: tuple[int, Report] | None = None
    live_log: tuple[str, ...] = ()
    refusal: str = ""
    last_logs: tuple[str, ...] = ()
    asleep: bool = False
    given_up: bool = False
    waking: bool = False
    leaving: bool = False
    lost_until: float = 0.0
    applied_at: float = 0.0
    repaired_at: float = 0.0
    calls: int = 0
    called_at: float = 0.0
    state: LambdaState | None = None
    turned: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def ready(self) -> frozenset[int]:
        """Versions of the pods that answer."""
        return frozenset(pod.version for pod in self.pods.values() if pod.ready)

    @property
    def replicas(self) -> int:
        """Pods that there should be."""
        return 0 if self.program is None or self.asleep or self.given_up else self.program.pods

    @property
    def rollout(self) -> Rollout:
        """How its Deployment is."""
        return Rollout(0) if self.live is None else Rollout.read(self.live)

    @property
    def newest(self) -> list[Pod]:
        """Pods of the newest version."""
        return [] if self.program is None else newest(self.program, self.pods.values())

    @property
    def recorded(self) -> Record | None:
        """How the build of the newest version ended; None before."""
        record = self.record
        return record if record is not None and self.program and record.version == self.program.version else None

    @property
    def image(self) -> ImageStatus:
        """How far the build of the newest version is."""
        recorded = self.recorded
        return image_status(self.newest, recorded.status if recorded else None, self.rollout.stuck)

    @property
    def hopeless(self) -> bool:
        """Its build is known to have failed for a reason of its own, and no version before it answers meanwhile."""
        if self.recorded is None or self.recorded.status is not ImageStatus.ERROR or self.ready:
            return False
        return any(pod.prepare.exit_code == BAD or (pod.failed and "exceed" in pod.message) for pod in self.newest)

    @property
    def trouble(self) -> str:
        """Why it does not get on, for people."""
        told = [self.refusal, self.rollout.stuck, *(pod.trouble for pod in self.newest)]
        return next((text for text in told if text), "")

    def judge(self) -> bool:
        """Work the state out anew. True where it has changed."""
        before = self.state
        self.state = self._state()
        status = self.state.status
        if status is LambdaStatus.RUNNING and (before is None or before.status is not status):
            # it is idle from now on at the earliest
            self.called_at = asyncio.get_running_loop().time()
        if self.ready or status is LambdaStatus.TERMINATED or self.image is ImageStatus.ERROR:
            self.waking = False
        self.turn()
        return self.state != before

    def turn(self) -> None:
        """Tell those who wait for something to have changed."""
        turned, self.turned = self.turned, asyncio.Event()
        turned.set()

    def _state(self) -> LambdaState:
        if self.wanted is not None and (self.program is None or self.wanted.version != self.program.version):
            image = ImageStatus.ERROR if self.refusal else ImageStatus.IN_PROGRESS
            log = (self.refusal,) if self.refusal else ()
            return LambdaState(self.wanted.version, LambdaStatus.WAITING, image, info=self._info(), image_logs=log)
        if self.program is None:
            # something of it is left: whoever looks deploys it, or removes it
            return LambdaState(0, LambdaStatus.NOT_FOUND, ImageStatus.NOT_FOUND)
        recorded = self.recorded
        # what a build has come to is told once it is kept
        image = recorded.status if recorded else ImageStatus.ERROR if self.refusal else ImageStatus.IN_PROGRESS
        report = recorded.report if recorded else Report()
        return LambdaState(
            version=self.program.version,
            status=lambda_status(self.newest, image, asleep=self.asleep),
            image_status=image,
            base=report.base,
            info=self._info(report),
            image_logs=recorded.log if recorded else (*self.live_log, *([self.refusal] if self.refusal else [])),
            documentation=report.documentation,
        )

    def _info(self, report: Report | None = None) -> dict[str, str]:
        info = {"isolation": ISOLATION}
        if report is not None and report.python:
            info["python"] = report.python
        if self.ready:
            info["version"] = ", ".join(map(str, sorted(self.ready)))
        if self.trouble:
            info["trouble"] = self.trouble
        return info
