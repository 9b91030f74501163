"""Keeps a cluster as it is wanted, and what is known of it up to date.

What is wanted comes by `want` and `remove`; what is there by lists and watches. Whatever happens marks a lambda, and
`_settle` compares the two for each marked one. So nothing depends on an event that a restart would miss.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from server.domain.cancellation import ended
from server.domain.lambdas import Deployment, ImageStatus, LambdaStatus
from server.errors import Unavailable

from .chronicle import LOG_LINES, Chronicle
from .drift import drifted
from .following import RETRY_SECONDS, follow
from .held import Held
from .manifests import GRACE_SECONDS, Manifests
from .programs import Json, Program, lambda_of, name_of
from .records import Record
from .refusals import ClusterError
from .seen import Pod
from .tickets import ticket

if TYPE_CHECKING:
    from .cluster import Cluster

AT_ONCE = 8
"""Lambdas that are worked on at the same time."""
LOOK_SECONDS = 2.0
"""How often the log of a build that goes on is read, and idleness looked at."""
AUDIT_SECONDS = 60.0
"""How often objects are looked through that nobody watches."""
REPAIR_SECONDS = 10.0
"""Least time between two repairs of one lambda, so that this and another controller do not undo each other for ever."""
LOST_SECONDS = 30.0
"""A pod that still lacks its Secret so long after it was written needs a new one."""
WATCHED = ("Deployment", "Pod")
AROUND = ("NetworkPolicy", "Service", "PodDisruptionBudget")
"""What is made beside a Deployment and is not secret. A policy is made first, and deleted last."""

log = logging.getLogger(__name__)


class Keeper:
    """Keeps the lambdas of a namespace.

    Args:
        cluster: the API.
        manifests: how objects are wanted.
        chronicle: keeps what pods tell.
        secret: what tickets are derived from.
        idle_seconds: a lambda that is not called for so long is stopped.
        lambdas: what is known of each lambda; the keeper fills it.
        changed: is called when a state has changed.
    """

    def __init__(
        self,
        cluster: Cluster,
        manifests: Manifests,
        chronicle: Chronicle,
        secret: bytes,
        *,
        idle_seconds: float,
        lambdas: dict[UUID, Held],
        changed: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._manifests = manifests
        self._chronicle = chronicle
        self._secret = secret
        self._idle_seconds = idle_seconds
        self._lambdas = lambdas
        self._changed = changed
        self._marked: set[UUID] = set()
        self._work = asyncio.Event()
        self._busy: dict[UUID, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._unknown = set(WATCHED)
        self._known = asyncio.Event()

    async def run(self) -> None:
        """Keep until cancelled."""
        try:
            await self._adopt()
            async with asyncio.TaskGroup() as group:
                for kind in WATCHED:
                    group.create_task(follow(self._cluster, kind, self), name=f"watch {kind}")
                group.create_task(self._settle_for_ever(), name="settle lambdas")
                group.create_task(self._look_for_ever(), name="look at lambdas")
                group.create_task(self._audit_for_ever(), name="audit lambdas")
        finally:
            await ended(*self._busy.values())

    def mark(self, lambda_id: UUID) -> None:
        """Have a lambda looked at."""
        self._marked.add(lambda_id)
        self._work.set()

    async def remove(self, held: Held) -> None:
        """Delete all that there is of a lambda. Its policy goes last: pods that stop are held to it as well.

        Raises:
            Unavailable: the cluster does not do it now.
        """
        held.leaving = True
        name = name_of(held.lambda_id)
        try:
            async with held.lock:
                for kind in ("Deployment", "PodDisruptionBudget", "Secret"):
                    await self._cluster.deleted(kind, name)
                await self._emptied(held, GRACE_SECONDS + RETRY_SECONDS, grace=None)
                await self._emptied(held, GRACE_SECONDS, grace=0)
                if held.pods:
                    raise ClusterError(0, f"pods of {name} do not end")
                for kind in ("Service", "ConfigMap", "NetworkPolicy"):
                    await self._cluster.deleted(kind, name)
        except ClusterError as error:
            raise Unavailable(component=f"Kubernetes ({error})") from error
        if self._lambdas.get(held.lambda_id) is held:
            del self._lambdas[held.lambda_id]
        self._changed()

    async def _adopt(self) -> None:
        """Know what is there already: the policies tell of every lambda that has anything at all."""
        while True:
            try:
                policies, _ = await self._cluster.listed("NetworkPolicy")
                records, _ = await self._cluster.listed("ConfigMap")
                break
            except ClusterError as error:
                log.warning("what the cluster has of lambdas cannot be read: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
        for live in policies:
            self._held(live)
        for live in records:
            held = self._held(live)
            if held is not None:
                held.record = Record.read(live)

    def all(self, kind: str, objects: list[Json]) -> None:
        """See `Follower.all`."""
        found: dict[UUID, set[str]] = {}
        for live in objects:
            lambda_id = self._noted(kind, live, gone=False)
            if lambda_id is not None:
                found.setdefault(lambda_id, set()).add(live["metadata"]["name"])
        for held in list(self._lambdas.values()):
            names = found.get(held.lambda_id, set())
            if kind == "Pod":
                held.pods = {name: pod for name, pod in held.pods.items() if name in names}
                held.turn()
            elif not names:
                held.live = None
            self.mark(held.lambda_id)
        self._unknown.discard(kind)
        if not self._unknown:
            self._known.set()

    def one(self, kind: str, live: Json, *, gone: bool) -> None:
        """See `Follower.one`."""
        self._noted(kind, live, gone=gone)

    def _noted(self, kind: str, live: Json, *, gone: bool) -> UUID | None:
        """Take note of an object. Pods alone make no lambda: they end with what made them."""
        lambda_id = lambda_of(live)
        if lambda_id is None:
            return None
        held = self._lambdas.get(lambda_id) if kind == "Pod" or gone else self._held(live)
        if held is None:
            return None
        if kind == "Pod":
            pod = Pod.read(live)
            if gone:
                held.pods.pop(pod.name, None)
            else:
                held.pods[pod.name] = pod
            held.turn()
        else:
            held.live = None if gone else live
            held.events += 1
            if held.program is None and not gone:
                self._take_over(held, live)
        self.mark(held.lambda_id)
        return held.lambda_id

    def _take_over(self, held: Held, live: Json) -> None:
        held.program = Program.read(live)
        if not held.rollout.replicas and held.recorded is not None:
            held.asleep = held.recorded.status is ImageStatus.COMPLETED
            held.given_up = not held.asleep

    def _held(self, live: Json) -> Held | None:
        """The lambda of an object that there is."""
        lambda_id = lambda_of(live)
        if lambda_id is None:
            return None
        held = self._lambdas.get(lambda_id)
        if held is None:
            held = self._lambdas[lambda_id] = Held(lambda_id)
            self.mark(lambda_id)
        return held

    async def _settle_for_ever(self) -> None:
        # before, it is not known what is missing
        await self._known.wait()
        while True:
            await self._work.wait()
            self._work.clear()
            for lambda_id in self._marked - self._busy.keys():
                self._marked.discard(lambda_id)
                held = self._lambdas.get(lambda_id)
                if held is not None and not held.leaving:
                    self._begin(held)

    def _begin(self, held: Held) -> None:
        task = asyncio.create_task(self._settle(held), name=f"settle {held.lambda_id}")
        self._busy[held.lambda_id] = task

        def over(_: asyncio.Task[None]) -> None:
            del self._busy[held.lambda_id]
            if self._marked:
                self._work.set()

        task.add_done_callback(over)

    async def _settle(self, held: Held) -> None:
        try:
            async with self._places, held.lock:
                if held.leaving:
                    return
                if held.wanted is not None:
                    await self._deploy(held, held.wanted)
                await self._chronicle.learn(held)
                await self._draw(held)
                await self._repair(held)
            held.refusal = ""
        except ClusterError as error:
            held.refusal = f"the cluster refused it: {error}" if error.final else ""
            log.warning("lambda %s: %s", held.lambda_id, error)
            self._later(held)
        except Exception:
            log.exception("lambda %s cannot be kept", held.lambda_id)
            self._later(held)
        if held.judge():
            self._changed()

    def _later(self, held: Held) -> None:
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self.mark, held.lambda_id)

    async def _deploy(self, held: Held, wanted: Deployment) -> None:
        """Tell the cluster of a version. The same one again has its Secret renewed, and no pod ends for that."""
        program = Program.of(wanted)
        if held.program is None or held.program.version != program.version:
            held.asleep = held.given_up = held.waking = False
            held.live_log = ()
        policy, *others = self._manifests.around(program)
        await self._cluster.applied(policy)
        await self._cluster.applied(
            self._manifests.secret(program, token=wanted.token, ticket=ticket(self._secret, program.lambda_id))
        )
        for manifest in others:
            await self._cluster.applied(manifest)
        if program.pods == 1:
            await self._cluster.deleted("PodDisruptionBudget", program.name)
        held.program = program
        await self._apply(held, self._manifests.deployment(program, held.replicas))
        held.applied_at = asyncio.get_running_loop().time()
        held.lost_until = 0.0
        if held.wanted is wanted:
            held.wanted = None

    async def _repair(self, held: Held) -> None:
        """Make the Deployment what it should be, where others have changed it, or it needs another number of pods."""
        program = held.program
        if program is None:
            return
        loop = asyncio.get_running_loop()
        wanted = self._manifests.deployment(program, held.replicas)
        if held.live is not None and not drifted(wanted, held.live):
            return
        scaled = held.live is not None and held.rollout.replicas != held.replicas
        if not scaled and loop.time() < held.repaired_at + REPAIR_SECONDS:
            loop.call_at(held.repaired_at + REPAIR_SECONDS, self.mark, held.lambda_id)
            return
        held.repaired_at = loop.time()
        if held.live is None:
            for manifest in self._manifests.around(program):
                await self._cluster.applied(manifest)
        await self._apply(held, wanted)

    async def _apply(self, held: Held, manifest: Json) -> None:
        """Make the Deployment so. What a watch tells meanwhile may be newer than the answer, and counts."""
        events = held.events
        live = await self._cluster.applied(manifest)
        if held.events == events:
            held.live = live

    async def _draw(self, held: Held) -> None:
        """Draw conclusions from how the pods are, once what they tell is kept."""
        if held.hopeless:
            held.given_up = True
        if any(pod.refused for pod in held.newest):
            self._miss(held)
        for pod in held.newest:
            if pod.failed and held.recorded is not None:
                # a node threw it out, and it has been replaced
                await self._cluster.deleted("Pod", pod.name)

    def _miss(self, held: Held) -> None:
        """Let the host deploy a lambda once more whose Secret is gone or of no use."""
        now = asyncio.get_running_loop().time()
        if now > held.applied_at + LOST_SECONDS and now > held.lost_until + LOST_SECONDS:
            log.warning("lambda %s lacks its Secret, or has one of another LUNA_LAMBDAS__SECRET", held.lambda_id)
            held.lost_until = now + LOST_SECONDS
            self._changed()

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._idle_seconds / 4))
            now = asyncio.get_running_loop().time()
            for held in list(self._lambdas.values()):
                state = held.state
                if state is None or held.leaving:
                    continue
                if state.image_status is ImageStatus.IN_PROGRESS or any(pod.refused for pod in held.newest):
                    self.mark(held.lambda_id)
                idle = state.status is LambdaStatus.RUNNING and not held.calls and not held.asleep
                if idle and now > held.called_at + self._idle_seconds:
                    await self._rest(held)

    async def _rest(self, held: Held) -> None:
        """Stop a lambda that nobody calls, and keep what it wrote."""
        try:
            held.last_logs = await self._chronicle.logs(held, LOG_LINES)
        except ClusterError as error:
            log.warning("the log of lambda %s cannot be kept: %s", held.lambda_id, error)
        if not held.calls:
            held.asleep = True
            self.mark(held.lambda_id)

    async def _audit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_SECONDS)
            try:
                await self.audit()
            except ClusterError as error:
                log.warning("objects of lambdas cannot be looked through: %s", error)

    async def audit(self) -> None:
        """Make every object beside Deployments what it should be, and know of what is left of lambdas.

        Raises:
            ClusterError: the cluster does not answer, or refuses it.
        """
        live: dict[str, Mapping[str, Json]] = {}
        for kind in AROUND:
            objects, _ = await self._cluster.listed(kind)
            live[kind] = {one["metadata"]["name"]: one for one in objects}
            for one in objects:
                self._held(one)
        for held in list(self._lambdas.values()):
            async with held.lock:
                if held.program is None or held.wanted is not None or held.leaving:
                    continue
                for manifest in self._manifests.around(held.program):
                    if drifted(manifest, live[manifest["kind"]].get(held.program.name)):
                        await self._cluster.applied(manifest)

    async def _emptied(self, held: Held, seconds: float, grace: int | None) -> None:
        """Wait until a lambda has no pods, having told each to end."""
        for name in list(held.pods):
            await self._cluster.deleted("Pod", name, grace)
        try:
            async with asyncio.timeout(seconds):
                while held.pods:
                    await held.turned.wait()
        except TimeoutError:
            return
