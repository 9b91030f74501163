"""The API of a cluster: what this package needs of it, over Kubernetes' own client.

Objects are plain JSON both ways. Answers are read here and not by the client, which logs them: they have secrets.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config

from .programs import MANAGER, SELECTOR, Json
from .refusals import ClusterError

TIMEOUT_SECONDS = 15.0
WATCH_SECONDS = 240
"""A server ends a watch after so long; the next one goes on where it was."""
SILENCE_SECONDS = WATCH_SECONDS + 30
"""A watch whose connection is dead ends at last by this."""
PAGE = 500
APPLY = "application/apply-patch+yaml"

PATHS = {
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Pod": ("/api/v1", "pods"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
}
"""Kind: where the API has it."""


class Cluster:
    """A namespace of a cluster. `close` after use.

    Args:
        api: the client, with the cluster's address and credentials.
        namespace: where everything is.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    @classmethod
    async def connect(cls, namespace: str, kubeconfig: Path | None) -> Cluster:
        """The cluster of a kubeconfig, or the one that this process is in.

        Raises:
            ClusterError: there is no such file, or no cluster around this process.
        """
        settings = client.Configuration()
        try:
            if kubeconfig is not None:
                await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
            else:
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise ClusterError(0, str(error)) from error
        return cls(client.ApiClient(settings), namespace)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def listed(self, kind: str) -> tuple[list[Json], str]:
        """All objects of lambdas of a kind, and the version of the collection that a watch goes on from.

        Raises:
            ClusterError: they cannot be had.
        """
        found: list[Json] = []
        query = {"labelSelector": SELECTOR, "limit": str(PAGE)}
        while True:
            answer = await self._asked("GET", kind, query=query)
            # items have no kind and version of their own there
            own = {"apiVersion": answer["apiVersion"], "kind": kind}
            found += [{**own, **item} for item in answer["items"]]
            metadata = answer["metadata"]
            if not metadata.get("continue"):
                return found, str(metadata["resourceVersion"])
            query = {**query, "continue": metadata["continue"]}

    async def watched(self, kind: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        """What happens to objects of lambdas: ADDED, MODIFIED, DELETED or BOOKMARK, and the object. Ends by itself.

        Raises:
            ClusterError: 410 where the version is too old, so that the objects must be listed again.
        """
        query = {
            "labelSelector": SELECTOR,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=SILENCE_SECONDS, sock_connect=TIMEOUT_SECONDS)
        async with self._answer("GET", kind, query=query, timeout=timeout) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ClusterError(int(status.get("code") or 500), str(status.get("message") or "the watch failed"))
                yield event["type"], event["object"]

    async def applied(self, manifest: Json) -> Json:
        """Make an object, or make it as it is wanted (server-side apply): what others have of it stays.

        Raises:
            ClusterError: the API refuses it.
        """
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._asked(
            "PATCH", manifest["kind"], manifest["metadata"]["name"], query=query, body=manifest, content_type=APPLY
        )

    async def deleted(self, kind: str, name: str, grace: int | None = None) -> None:
        """Delete an object with what it owns; nothing where there is none.

        Raises:
            ClusterError: the API refuses it.
        """
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            await self._asked("DELETE", kind, name, body=body)
        except ClusterError as error:
            if error.status != 404:
                raise

    async def log(
        self, pod: str, container: str, *, lines: int, most: int, previous: bool = False, stamped: bool = False
    ) -> bytes:
        """The last lines that a container wrote; empty where it has not begun, or is gone.

        Args:
            pod: its name.
            container: its name.
            lines: most lines.
            most: most bytes; the newest are kept.
            previous: of its run before this one.
            stamped: with the time at the front of each line.

        Raises:
            ClusterError: the log cannot be had.
        """
        query = {
            "container": container,
            "tailLines": str(lines),
            "previous": str(previous).lower(),
            "timestamps": str(stamped).lower(),
        }
        kept = bytearray()
        try:
            async with self._answer("GET", "Pod", pod, "log", query=query) as answer:
                async for piece in answer.content.iter_any():
                    kept += piece
                    del kept[:-most]
        except ClusterError as error:
            # 400: the container waits to start, or had no run before
            if error.status not in (400, 404):
                raise
        return bytes(kept)

    async def permissions(self) -> Json:
        """What this process may do in the namespace: status of a SelfSubjectRulesReview.

        Raises:
            ClusterError: it cannot be had.
        """
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": self._namespace},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        async with self._answered("POST", path, {}, body, "application/json", _TIMEOUT) as answer:
            status: Json = (await answer.json(content_type=None))["status"]
            return status

    async def _asked(
        self,
        verb: str,
        kind: str,
        name: str = "",
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        async with self._answer(verb, kind, name, query=query, body=body, content_type=content_type) as answer:
            found: Json = await answer.json(content_type=None)
            return found

    def _answer(
        self,
        verb: str,
        kind: str,
        name: str = "",
        part: str = "",
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> Any:
        group, plural = PATHS[kind]
        path = "/".join(part for part in (group, "namespaces", self._namespace, plural, name, part) if part)
        return self._answered(verb, path, query or {}, body, content_type, timeout or _TIMEOUT)

    @asynccontextmanager
    async def _answered(
        self,
        verb: str,
        path: str,
        query: dict[str, str],
        body: Json | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            answer: aiohttp.ClientResponse = await self._api.call_api(
                path,
                verb,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=limit,
            )
            async with answer:
                if answer.status >= 400:
                    raise ClusterError(answer.status, await _message(answer))
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(
                0, f"the API of the cluster does not answer: {str(error) or type(error).__name__}"
            ) from error


_TIMEOUT = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)


async def _message(answer: aiohttp.ClientResponse) -> str:
    try:
        status = json.loads(await answer.read())
        return str(status["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} {answer.reason}"
