"""A runner on a fake cluster, and a lambda that its calls reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from server.domain.lambdas import Deployment, LambdaState, LambdaType
from server.lambdas.kubernetes.runner import KubernetesRunner
from server.settings import Lambdas
from tests.kubernetes_api import TOKEN, FakeCluster, Json

SECRET = "of the lambda host, and long"
Settings = Callable[..., Lambdas]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Makes settings that a cluster needs, with others beside them."""

    def made(cluster: FakeCluster | None = None, **values: object) -> Lambdas:
        cluster_values: dict[str, object] = {
            "image": "registry.example/luna:1",
            "platform": "luna.luna.svc:50051",
            "archives": "http://luna-lambdas.luna.svc.cluster.local:50090",
        }
        if cluster is not None:
            cluster_values["config"] = kubeconfig(tmp_path / "kubeconfig", cluster)
        cluster_values |= values.pop("kubernetes", {})  # type: ignore[arg-type, call-overload]
        return Lambdas.model_validate(
            {"runner": "kubernetes", "secret": SECRET, "kubernetes": cluster_values, **values}
        )

    return made


def kubeconfig(path: Path, cluster: FakeCluster) -> Path:
    """A file that leads to a cluster, as kubectl has it."""
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: fake\n"
        f"clusters: [{{name: fake, cluster: {{server: '{cluster.url}'}}}}]\n"
        f"users: [{{name: host, user: {{token: {TOKEN}}}}}]\n"
        "contexts: [{name: fake, context: {cluster: fake, user: host}}]\n"
    )
    return path


def deployment(lambda_id: UUID | None = None, version: int = 1, **values: object) -> Deployment:
    """A version of a lambda."""
    given: dict[str, object] = {"archive": b"PK", "token": "a.jwt", "pods": 1, "lambda_type": LambdaType.STANDALONE}
    given |= {"lambda_id": lambda_id or uuid4(), "account_id": UUID(int=7), "version": version, **values}
    return Deployment(**given)  # type: ignore[arg-type]


class Services(AbstractResolver):
    """Resolves the names of Services to one port of this machine."""

    def __init__(self) -> None:
        self.port = 0
        self.names: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.names.append(f"{host}:{port}")
        return [ResolveResult(hostname=host, host="127.0.0.1", port=self.port, family=family, proto=0, flags=0)]

    async def close(self) -> None: ...


@dataclass
class Playing:
    """A runner, its cluster, and what answers calls of lambdas."""

    cluster: FakeCluster
    settings: Lambdas
    services: Services = field(default_factory=Services)
    runner: KubernetesRunner = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process takes over."""
        self.runner = KubernetesRunner(self.settings, connector=self.connector)

    def connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(resolver=self.services, force_close=True, limit=0, use_dns_cache=False)

    async def until(self, lambda_id: UUID, so: Callable[[LambdaState], bool]) -> LambdaState:
        """The state of a lambda once it is so."""
        state: LambdaState | None = None

        def known() -> bool:
            nonlocal state
            state = self.runner.states().get(lambda_id)
            return state is not None and so(state)

        try:
            await eventually(known)
        except TimeoutError:
            raise AssertionError(f"it stays {state}") from None
        assert state is not None
        return state

    async def running(self, wanted: Deployment) -> LambdaState:
        """Deploy a lambda, and let its pods get ready."""
        self.runner.deploy(wanted)

        def own() -> list[Json]:
            return self.cluster.pods(wanted.version, str(wanted.lambda_id))

        await eventually(lambda: len(own()) > 0)
        while pods := [pod for pod in own() if pod["status"]["phase"] != "Running"]:
            await self.cluster.run(pods[0])
        return await self.until(wanted.lambda_id, lambda state: state.status.value == "running")


async def eventually(so: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something is so."""
    ends = asyncio.get_running_loop().time() + seconds
    while not so():
        if asyncio.get_running_loop().time() > ends:
            raise TimeoutError
        await asyncio.sleep(0.01)


@pytest.fixture
async def playing(settings: Settings) -> AsyncIterator[Callable[..., Awaitable[Playing]]]:
    """Starts a runner on a cluster of its own."""
    started: list[Playing] = []
    cluster = FakeCluster()
    async with cluster.served():

        async def play(**values: object) -> Playing:
            one = Playing(cluster, settings(cluster, **values))
            started.append(one)
            return one

        yield play
        for one in started:
            await one.runner.close()


@asynccontextmanager
async def answering(
    services: Services, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[None]:
    """Let a function answer calls of lambdas for the length of the block."""
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    services.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()
