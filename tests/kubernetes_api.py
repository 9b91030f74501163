"""An API server of Kubernetes for tests, with the controllers of Deployments and pods, and without any container.

Answers have the shapes of the real API (reference of the API, and `kubectl get -o json` of kind clusters): lists with a
Answers have the shapes of the real API (its reference, and what `kubectl get -o json` shows): lists with a
others own, defaults that the server adds, quantities in its canonical form, pods that end gracefully. Every object is
held against Kubernetes' published schemas. The test plays kubelet: it says what the containers of a pod do.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import kubernetes_validate
from aiohttp import web

Json = dict[str, Any]

SCHEMAS = "1.37"
TOKEN = "of-a-service-account"
KINDS = {
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "configmaps": ("v1", "ConfigMap"),
    "pods": ("v1", "Pod"),
    "deployments": ("apps/v1", "Deployment"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
}
ADMIN: list[Json] = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]


@dataclass
class Log:
    """What a container has written: time and line; before its last restart, and since."""

    previous: list[tuple[str, str]] = field(default_factory=list)
    current: list[tuple[str, str]] = field(default_factory=list)


class Refused(Exception):
    """An answer that is a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    @property
    def status(self) -> Json:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


class FakeCluster:
    """One namespace.

    Attributes:
        url: where the API is.
        rules: what the caller may do, as a SelfSubjectRulesReview tells it.
        asked: each request: verb and path, with `?watch` for a watch.
        refuse: is asked before each request; raises Refused.
    """

    def __init__(self, namespace: str = "luna-lambdas") -> None:
        self.namespace = namespace
        self.url = ""
        self.rules = ADMIN
        self.asked: list[str] = []
        self.refuse: Callable[[str, str, str], None] = lambda verb, plural, name: None
        self.logs: dict[tuple[str, str], Log] = defaultdict(Log)
        self.grace: dict[str, int | None] = {}
        self.stubborn = False
        self._objects: dict[str, dict[str, Json]] = {plural: {} for plural in KINDS}
        self._applied: dict[tuple[str, str], Json] = {}
        self._version = itertools.count(1000)
        self._now = 1000
        self._history: list[tuple[int, str, str, Json]] = []
        self._compacted = 0
        self._moved = asyncio.Condition()
        self._controlling = asyncio.Lock()
        self._watches: set[web.StreamResponse] = set()
        self._names = itertools.count(1)
        self._clock = itertools.count()

    # --- what tests look at and do

    def get(self, plural: str, name: str) -> Json | None:
        """An object as it is now."""
        return self._objects[plural].get(name)

    def all(self, plural: str) -> list[Json]:
        """All objects of a kind."""
        return list(self._objects[plural].values())

    def pods(self, version: int | None = None, lambda_id: str | None = None) -> list[Json]:
        """Pods that are not on their way out, of a version and of a lambda."""
        return [
            pod
            for pod in self.all("pods")
            if not pod["metadata"].get("deletionTimestamp")
            and version in (None, int(pod["metadata"]["labels"]["luna-open/version"]))
            and lambda_id in (None, pod["metadata"]["labels"]["luna-open/lambda-id"])
        ]

    def write(self, pod: Json, container: str, *lines: str, previous: bool = False) -> None:
        """Let a container write lines, at moments that follow each other."""
        log = self.logs[pod["metadata"]["name"], container]
        for line in lines:
            moment = f"2026-01-01T00:00:00.{next(self._clock):09d}".rstrip("0") + "Z"
            (log.previous if previous else log.current).append((moment, line))

    async def build(self, pod: Json, *lines: str) -> None:
        """The init container runs."""
        self.write(pod, "prepare", *lines)
        pod["status"]["phase"] = "Pending"
        pod["status"]["initContainerStatuses"] = [
            _container("prepare", {"running": {"startedAt": _now()}}, started=True)
        ]
        await self.changed("pods", pod)

    async def built(self, pod: Json, *lines: str) -> None:
        """The init container is done, and the main one runs, and is not ready."""
        self.write(pod, "prepare", *lines)
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}}
        pod["status"]["initContainerStatuses"] = [_container("prepare", done, ready=True)]
        pod["status"]["phase"] = "Running"
        pod["status"]["containerStatuses"] = [_container("lambda", {"running": {"startedAt": _now()}})]
        await self.changed("pods", pod)

    async def spoilt(self, pod: Json, code: int, *lines: str) -> None:
        """The init container failed, and kubelet waits before it starts it again."""
        self.write(pod, "prepare", *lines)
        ended = {"terminated": {"exitCode": code, "reason": "Error", "startedAt": _now(), "finishedAt": _now()}}
        status = _container("prepare", _waiting("CrashLoopBackOff", "back-off 10s restarting failed container=prepare"))
        status |= {"lastState": ended, "restartCount": 1}
        pod["status"]["initContainerStatuses"] = [status]
        await self.changed("pods", pod)

    async def ready(self, pod: Json, *, ready: bool = True) -> None:
        """The main container answers its probe."""
        main = pod["status"]["containerStatuses"][0]
        main |= {"ready": ready, "started": True, "state": {"running": {"startedAt": _now()}}}
        _condition(pod, "Ready", "True" if ready else "False")
        await self.changed("pods", pod)

    async def run(self, pod: Json) -> None:
        """From the beginning until the pod answers."""
        await self.build(pod)
        await self.built(pod)
        await self.ready(pod)

    async def crash(self, pod: Json, *lines: str, reason: str = "Error", code: int = 1) -> None:
        """The main container ends by itself, and kubelet waits before it starts it again."""
        log = self.logs[pod["metadata"]["name"], "lambda"]
        self.write(pod, "lambda", *lines)
        log.previous, log.current = log.current, []
        main = pod["status"]["containerStatuses"][0]
        ended = {"terminated": {"exitCode": code, "reason": reason, "startedAt": _now(), "finishedAt": _now()}}
        main |= {
            "ready": False,
            "started": False,
            "state": _waiting("CrashLoopBackOff", "back-off 10s restarting failed container=lambda"),
            "lastState": ended,
            "restartCount": main["restartCount"] + 1,
        }
        _condition(pod, "Ready", "False")
        await self.changed("pods", pod)

    async def wait_for_secret(self, pod: Json) -> None:
        """The init container lacks its Secret."""
        name = pod["metadata"]["labels"]["luna-open/lambda-id"]
        waiting = _waiting("CreateContainerConfigError", f'secret "lambda-{name}" not found')
        pod["status"]["initContainerStatuses"] = [_container("prepare", waiting)]
        await self.changed("pods", pod)

    async def evict(self, pod: Json, message: str) -> None:
        """A node throws a pod out; the controller makes another one."""
        pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": message}
        _condition(pod, "Ready", "False")
        await self.changed("pods", pod)

    async def stick(self, name: str, message: str) -> None:
        """A rollout runs out of its time."""
        live = self._objects["deployments"][name]
        live["status"]["conditions"] = [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": message}
        ]
        await self.changed("deployments", live)

    async def delete(self, plural: str, name: str) -> None:
        """Somebody else deletes an object."""
        live = self._objects[plural].pop(name)
        await self._tell(plural, "DELETED", live)
        if plural == "deployments":
            for pod in self.pods():
                if (
                    pod["metadata"]["labels"]["luna-open/lambda-id"]
                    == live["metadata"]["labels"]["luna-open/lambda-id"]
                ):
                    await self._end(pod)

    async def compact(self) -> None:
        """Forget what happened, and end all watches: whoever goes on from an old version has to list again."""
        self._compacted = self._now
        self._history.clear()
        await self.cut()

    async def cut(self) -> None:
        """End all watches without a word."""
        async with self._moved:
            watches, self._watches = self._watches, set()
            self._moved.notify_all()
        assert watches, "nobody watches"

    async def changed(self, plural: str, live: Json) -> None:
        """Tell of a change that was made to an object."""
        await self._tell(plural, "MODIFIED", live)
        await self._control()

    # --- the controllers

    async def _control(self) -> None:
        """What the controllers of Deployments and ReplicaSets do: maxUnavailable 0, maxSurge 1."""
        async with self._controlling:
            await self._roll()

    async def _roll(self) -> None:
        for live in self.all("deployments"):
            wanted, digest = live["spec"]["replicas"], _digest(live["spec"]["template"])
            selector = live["spec"]["selector"]["matchLabels"]
            pods = [pod for pod in self.pods() if _matches(pod, selector) and pod["status"]["phase"] != "Failed"]
            new = [pod for pod in pods if pod["metadata"]["labels"]["pod-template-hash"] == digest]
            old = [pod for pod in pods if pod not in new]
            while len(new) > wanted:
                await self._end(new.pop())
            ready = sum(_is_ready(pod) for pod in new)
            while len(old) > max(0, wanted - ready):
                await self._end(old.pop())
            while len(new) < wanted and len(new) + len(old) < wanted + 1:
                new.append(await self._begin(live, digest))

    async def _begin(self, deployment: Json, digest: str) -> Json:
        template = copy.deepcopy(deployment["spec"]["template"])
        name = f"{deployment['metadata']['name']}-{digest}-{next(self._names):05d}"
        labels = {**template["metadata"]["labels"], "pod-template-hash": digest}
        pod: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": labels,
                "uid": name,
                "creationTimestamp": _now(),
            },
            "spec": template["spec"],
            "status": {
                "phase": "Pending",
                "qosClass": "Burstable",
                "conditions": [{"type": "PodScheduled", "status": "True"}],
                "initContainerStatuses": [_container("prepare", _waiting("PodInitializing"))],
                "containerStatuses": [_container("lambda", _waiting("PodInitializing"))],
            },
        }
        _condition(pod, "Ready", "False")
        kubernetes_validate.validate(pod, SCHEMAS, strict=True)
        self._objects["pods"][name] = pod
        await self._tell("pods", "ADDED", pod)
        return pod

    async def _end(self, pod: Json, grace: int | None = None) -> None:
        """Let a pod end: it is told to at once, and is gone a moment later."""
        name = pod["metadata"]["name"]
        self.grace[name] = grace
        if grace != 0:
            pod["metadata"]["deletionTimestamp"] = _now()
            pod["metadata"]["deletionGracePeriodSeconds"] = 10
            await self._tell("pods", "MODIFIED", pod)
            if self.stubborn:
                return
            await asyncio.sleep(0.01)
        if self._objects["pods"].pop(name, None) is not None:
            await self._tell("pods", "DELETED", pod)

    # --- the API

    @asynccontextmanager
    async def served(self) -> AsyncIterator[FakeCluster]:
        """Serve for the length of the block."""
        application = web.Application()
        application.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", self._review)
        for prefix in (f"/api/v1/namespaces/{self.namespace}", f"/apis/{{group}}/v1/namespaces/{self.namespace}"):
            application.router.add_get(prefix + "/{plural}", self._list)
            application.router.add_patch(prefix + "/{plural}/{name}", self._apply)
            application.router.add_delete(prefix + "/{plural}/{name}", self._delete)
            application.router.add_get(prefix + "/{plural}/{name}/log", self._log)
        application.middlewares.append(self._guard)
        runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        watch = "?watch" if request.query.get("watch") == "true" else ""
        self.asked.append(f"{request.method} {request.path}{watch}")
        try:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            plural, name = request.match_info.get("plural", ""), request.match_info.get("name", "")
            if plural and plural not in KINDS:
                raise Refused(404, "NotFound", "the server could not find the requested resource")
            self.refuse("WATCH" if watch else request.method, plural, name)
            answer: web.StreamResponse = await handler(request)
            return answer
        except Refused as refused:
            return web.json_response(refused.status, status=refused.code)

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["spec"] == {"namespace": self.namespace}
        status = {"resourceRules": self.rules, "nonResourceRules": [], "incomplete": False}
        return web.json_response({**body, "metadata": {}, "status": status}, status=201)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        selector = request.query.get("labelSelector", "")
        if request.query.get("watch") == "true":
            return await self._watch(request, plural, selector)
        found = sorted(
            (one for one in self.all(plural) if _selected(one, selector)), key=lambda one: one["metadata"]["name"]
        )
        begin, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 500)
        metadata: Json = {"resourceVersion": str(self._now)}
        if len(found) > begin + limit:
            metadata |= {"continue": str(begin + limit), "remainingItemCount": len(found) - begin - limit}
        version, kind = KINDS[plural]
        # items of lists have no kind and version of their own
        items = [
            {key: one[key] for key in one if key not in ("kind", "apiVersion")} for one in found[begin : begin + limit]
        ]
        return web.json_response({"kind": f"{kind}List", "apiVersion": version, "metadata": metadata, "items": items})

    async def _watch(self, request: web.Request, plural: str, selector: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        await response.prepare(request)
        since = int(request.query["resourceVersion"])
        if since < self._compacted:
            gone = Refused(410, "Expired", f"too old resource version: {since} ({self._compacted})")
            await response.write(_line("ERROR", gone.status))
            return response
        self._watches.add(response)
        await response.write(_line("BOOKMARK", {"kind": KINDS[plural][1], "metadata": {"resourceVersion": str(since)}}))
        while response in self._watches:
            news = [one for one in self._history if one[0] > since]
            for version, kind, event, live in news:
                if kind == plural and _selected(live, selector):
                    await response.write(_line(event, live))
                since = version
            async with self._moved:
                if response in self._watches and not any(one[0] > since for one in self._history):
                    await self._moved.wait()
        return response

    async def _apply(self, request: web.Request) -> web.Response:
        """Server-side apply by one manager: what it had set before and does not set any more goes, the rest stays."""
        plural, name = request.match_info["plural"], request.match_info["name"]
        assert request.content_type == "application/apply-patch+yaml"
        assert request.query["fieldManager"]
        assert request.query["force"] == "true"
        wanted: Json = await request.json()
        if (wanted["apiVersion"], wanted["kind"]) != KINDS[plural] or wanted["metadata"]["name"] != name:
            raise Refused(400, "BadRequest", "the object does not match the request")
        try:
            kubernetes_validate.validate(wanted, SCHEMAS, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(422, "Invalid", f"{wanted['kind']} {name} is invalid: {error.message}") from error
        before = self._objects[plural].get(name)
        live = (
            copy.deepcopy(before)
            if before
            else {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"], "metadata": {}}
        )
        _forget(live, self._applied.get((plural, name), {}), wanted)
        _merge(live, wanted)
        self._default(plural, live)
        self._applied[plural, name] = wanted
        if before is None:
            live["metadata"] |= {
                "namespace": self.namespace,
                "uid": f"uid-{next(self._names)}",
                "creationTimestamp": _now(),
            }
        if before is not None and _same(before, live):
            return web.json_response(before)
        if plural == "deployments":
            spec = None if before is None else before["spec"]
            generation = live["metadata"].get("generation", 0) + (spec != live["spec"])
            live["metadata"]["generation"] = generation
            live["status"] = {"observedGeneration": generation, "conditions": []}
        self._objects[plural][name] = live
        await self._tell(plural, "MODIFIED" if before else "ADDED", live)
        await self._control()
        return web.json_response(live, status=200 if before else 201)

    async def _delete(self, request: web.Request) -> web.Response:
        plural, name = request.match_info["plural"], request.match_info["name"]
        live = self._objects[plural].get(name)
        if live is None:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found')
        options = await request.json()
        assert options["kind"] == "DeleteOptions"
        if plural == "pods":
            await self._end(live, options.get("gracePeriodSeconds"))
            await self._control()
        else:
            self._applied.pop((plural, name), None)
            await self.delete(plural, name)
        return web.json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})

    async def _log(self, request: web.Request) -> web.Response:
        name, container = request.match_info["name"], request.query["container"]
        pod = self._objects["pods"].get(name)
        if pod is None:
            raise Refused(404, "NotFound", f'pods "{name}" not found')
        log = self.logs[name, container]
        lines = log.current
        if request.query.get("previous") == "true":
            lines = log.previous
            if not lines:
                message = f'previous terminated container "{container}" in pod "{name}" not found'
                raise Refused(400, "BadRequest", message)
        elif not lines and _is_waiting(pod, container):
            message = f'container "{container}" in pod "{name}" is waiting to start: PodInitializing'
            raise Refused(400, "BadRequest", message)
        tail = int(request.query.get("tailLines", len(lines)))
        stamps = request.query.get("timestamps") == "true"
        chosen = lines[-tail:] if tail else []
        return web.Response(text="".join(f"{moment} {line}\n" if stamps else f"{line}\n" for moment, line in chosen))

    def _default(self, plural: str, live: Json) -> None:
        """Some of what the real server adds by itself, and how it writes quantities."""
        if plural == "services":
            live["spec"] |= {"clusterIP": "10.96.0.7", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
        if plural == "deployments":
            pod = live["spec"]["template"]["spec"]
            pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
            for container in (*pod["initContainers"], *pod["containers"]):
                container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
                for amounts in container["resources"].values():
                    if amounts["cpu"] == "0.5":
                        amounts["cpu"] = "500m"
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    if probe in container:
                        container[probe]["httpGet"]["scheme"] = "HTTP"
                        container[probe]["successThreshold"] = 1

    async def _tell(self, plural: str, event: str, live: Json) -> None:
        self._now = next(self._version)
        live["metadata"]["resourceVersion"] = str(self._now)
        async with self._moved:
            self._history.append((self._now, plural, event, copy.deepcopy(live)))
            self._moved.notify_all()


def _container(name: str, state: Json, *, ready: bool = False, started: bool = False) -> Json:
    return {
        "name": name,
        "image": "registry.example/luna:1",
        "imageID": "registry.example/luna@sha256:0",
        "lastState": {},
        "ready": ready,
        "started": started,
        "restartCount": 0,
        "state": state,
    }


def _waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _condition(pod: Json, kind: str, status: str) -> None:
    conditions = [one for one in pod["status"]["conditions"] if one["type"] != kind]
    pod["status"]["conditions"] = [*conditions, {"type": kind, "status": status, "lastTransitionTime": _now()}]


def _is_ready(pod: Json) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"]["conditions"])


def _is_waiting(pod: Json, container: str) -> bool:
    statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    return any(one["name"] == container and "waiting" in one["state"] for one in statuses)


def _matches(live: Json, labels: Json) -> bool:
    return labels.items() <= live["metadata"].get("labels", {}).items()


def _selected(live: Json, selector: str) -> bool:
    """Equality and presence, which is what is asked for here."""
    labels = live["metadata"].get("labels", {})
    for part in filter(None, selector.split(",")):
        key, equal, value = part.partition("=")
        if key not in labels or (equal and labels[key] != value):
            return False
    return True


def _digest(template: Json) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def _merge(live: Json, wanted: Json) -> None:
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(key), dict):
            _merge(live[key], value)
        else:
            live[key] = copy.deepcopy(value)


def _forget(live: Json, before: Json, wanted: Json) -> None:
    for key, value in before.items():
        if key not in wanted:
            live.pop(key, None)
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(live.get(key), dict):
            _forget(live[key], value, wanted[key])


def _same(one: Json, other: Json) -> bool:
    def bare(live: Json) -> Json:
        kept = {key: live[key] for key in live if key not in ("status", "metadata")}
        return {**kept, **{key: live["metadata"].get(key) for key in ("labels", "annotations")}}

    return bare(one) == bare(other)


def _line(event: str, live: Json) -> bytes:
    return json.dumps({"type": event, "object": live}).encode() + b"\n"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
