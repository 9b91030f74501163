"""`luna up`: everything that one machine needs, under one supervisor."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2
from pydantic import SecretStr
from rich.console import Console
from rich.panel import Panel

from engines.packs.errors import PackError
from gateway import edge
from server.application import SERVICES
from server.certificates import Certificate, CertificateUnusable
from server.commands import administrator, greeting, models, up_certificates
from server.commands.schema import NoSchema, bring_up_at
from server.edge_client import LastingTrust, Trust, trusted_itself
from server.lambdas.host import HEALTH
from server.settings import BEHIND, Settings
from server.supervisor import AlreadyRunning, Backing, Event, Happening, Program, StartFailed, Supervisor, backing
from storage.embedded import CannotPrepare

ENGINE_SECONDS = 300
"""A start loads every network; on a GPU it may first have to build plans."""

SERVER_SECONDS = 90
"""A start takes seconds, and up to `server.inference.remote.START_SECONDS` more where an engine has to come up."""

LAMBDA_SECONDS = 60

PATIENCE_SECONDS = 10
"""When everything runs and is not healthy for so long, for one reason, it is told what is the matter."""

_SHOWN = {Happening.ENDED, Happening.RESTARTING, Happening.FAILED}


@dataclass(frozen=True, slots=True)
class Plan:
    """What `luna up` runs."""

    programs: tuple[Program, ...]
    login: str
    password: str


def run(settings: Settings) -> int:
    """Run until SIGINT or SIGTERM. The exit status: 0 after an orderly stop, 1 where something could not start."""
    console = Console()
    settings = settings.model_copy(update={"data": settings.data.expanduser().resolve()})
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate = up_certificates.check(settings)
        if not settings.engine.address:
            models.ensure(settings, console)
        plan = plan_of(settings, backing(settings))
        asyncio.run(_run(settings, plan, certificate, console))
    except (CertificateUnusable, PackError, CannotPrepare, AlreadyRunning, StartFailed) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except OSError as error:
        where = error.filename or settings.data
        console.print(
            f"{where}: {error.strerror or error}. LUNA_DATA names the data folder: Luna has to be able to write there.",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return 1
    return 0


def plan_of(settings: Settings, behind: Backing) -> Plan:
    """The programs for some settings: database and Redis where they are embedded, engine, servers, worker, Envoy."""
    key = settings.rest.key or SecretStr(secrets.token_urlsafe(32))
    settings = settings.model_copy(update={"rest": settings.rest.model_copy(update={"key": key})})
    login, password = administrator.ensure(settings)
    binaries = Path(sys.executable).parent
    luna = str(binaries / "luna")
    environment = {
        **os.environ,
        **behind.environment,
        "LUNA_DATA": str(settings.data),
        "LUNA_ACCESS__ADMIN_LOGIN": login,
        "LUNA_ACCESS__ADMIN_PASSWORD": password,
        "LUNA_REST__KEY": key.get_secret_value(),
        **_lambda_secret(settings),
        "PYTHONUNBUFFERED": "1",
    }

    async def prepare(port: int, socket: int) -> None:
        await _free(BEHIND, port, "LUNA_GRPC__SERVER_PORT")
        await _free(settings.websocket.host, socket, "LUNA_WEBSOCKET__PORT")
        try:
            await bring_up_at(SecretStr(behind.database_url))
        except NoSchema as error:
            # the database may be on its way back: the supervisor takes an OSError as a start to be tried again
            raise ConnectionError(str(error)) from error

    async def reachable() -> None:
        await _free(settings.grpc.host, settings.grpc.port, "LUNA_GRPC__PORT")
        await _free(settings.rest.host, settings.rest.port, "LUNA_REST__PORT")

    first = settings.grpc.server_port or settings.grpc.port + 1
    ports = [first + number for number in range(settings.grpc.servers)]
    sockets = [settings.websocket.port + number for number in range(settings.grpc.servers)]
    shared = settings.engine.shared and not settings.engine.address
    serving = {**environment, **(_sharing(settings) if shared else {})}
    engines = (_engine(settings, luna, serving),) if shared else ()
    servers = [
        Program(
            name=f"server-{number}",
            argv=(luna, "serve"),
            env={
                **serving,
                **_workers(settings),
                "LUNA_GRPC__SERVER_PORT": str(port),
                "LUNA_WEBSOCKET__PORT": str(sockets[number - 1]),
                **_metrics(settings, number - 1),
            },
            before=partial(prepare, port, sockets[number - 1]),
            ready=partial(_serving, BEHIND, port),
            start_seconds=SERVER_SECONDS,
            stop_seconds=settings.grpc.drain_seconds + 5,
            # Envoy ends after them: what they finish while they drain goes through it
            depends_on=(*behind.names, *(engine.name for engine in engines), "envoy"),
        )
        for number, port in enumerate(ports, 1)
    ]
    lambdas = (_lambdas(settings, luna, environment, (servers[0].name, "envoy")),) if settings.lambdas.own else ()
    worker = Program(
        name="worker",
        argv=(luna, "worker"),
        env=environment,
        stop_seconds=settings.tasks.drain_seconds + 5,
        depends_on=(servers[0].name,),
    )
    files = edge.render(
        settings,
        SERVICES.values(),
        ports,
        settings.data / "envoy",
        images=_places(settings),
        sockets=sockets,
        proxied=settings.lambdas.reached_at if settings.lambdas.enabled else "",
    )
    envoy = Program(
        name="envoy",
        argv=tuple(files.argv(str(binaries / "envoy"))),
        before=reachable,
        ready=partial(_rest_answers, settings, LastingTrust(settings.tls)),
        stop_seconds=5,
        # refusing many images must not keep the engine from those that were taken
        batch=True,
    )
    return Plan((*behind.programs, *engines, *servers, *lambdas, worker, envoy), login, password)


def _engine(settings: Settings, luna: str, environment: Mapping[str, str]) -> Program:
    """The engine process that the servers of this machine share."""
    host, port = settings.engine.host, settings.engine.port
    return Program(
        name="engine",
        argv=(luna, "engine"),
        env={**environment, **_metrics(settings, settings.grpc.servers)},
        before=partial(_free, host, port, "LUNA_ENGINE__PORT"),
        ready=partial(_engine_serves, settings),
        start_seconds=ENGINE_SECONDS,
        stop_seconds=settings.grpc.drain_seconds + 5,
    )


def _lambdas(settings: Settings, luna: str, environment: Mapping[str, str], needs: tuple[str, ...]) -> Program:
    """The process that runs users' lambdas. What they call are the servers, by way of Envoy."""
    host, port = settings.lambdas.host, settings.lambdas.port
    return Program(
        name="lambdas",
        argv=(luna, "lambdas"),
        env={**environment, **_metrics(settings, settings.grpc.servers + 1)},
        before=partial(_free, host, port, "LUNA_LAMBDAS__PORT"),
        ready=partial(_takes_lambdas, settings),
        start_seconds=LAMBDA_SECONDS,
        stop_seconds=settings.grpc.drain_seconds + 10,
        depends_on=needs,
    )


def _lambda_secret(settings: Settings) -> dict[str, str]:
    """What servers and that process know each other by; nothing where another machine runs it, whose secret is set."""
    secret = settings.lambdas.secret
    if secret is not None:
        return {"LUNA_LAMBDAS__SECRET": secret.get_secret_value()}
    return {"LUNA_LAMBDAS__SECRET": secrets.token_urlsafe(32)} if settings.lambdas.own else {}


def _sharing(settings: Settings) -> dict[str, str]:
    """The settings that lead servers to that process. Its secret keeps other users of the machine out."""
    secret, trust = settings.engine.secret, _engine_trust(settings)
    return {
        "LUNA_ENGINE__ADDRESS": f"{settings.engine.host}:{settings.engine.port}",
        "LUNA_ENGINE__SECRET": secret.get_secret_value() if secret else secrets.token_urlsafe(),
        # with a certificate it is known by who signed it, if that is said, or by itself
        "LUNA_ENGINE__CA": str(settings.engine.ca or settings.engine.certificate) if trust else "",
        "LUNA_ENGINE__NAME": settings.engine.name or trust.name if trust else "",
    }


def _engine_trust(settings: Settings) -> Trust | None:
    """What is believed of the shared engine of this machine, where it has a certificate."""
    if settings.engine.certificate is None:
        return None
    return trusted_itself(settings.engine.certificate, "LUNA_ENGINE__CERTIFICATE")


def _places(settings: Settings) -> int:
    """Images that all engines work on and keep waiting. What those of other machines take only the servers know."""
    if settings.engine.address:
        return edge.MOST_CALLS
    engines = 1 if settings.engine.shared else settings.grpc.servers
    cores = math.ceil(len(os.sched_getaffinity(0)) / engines)
    at_once = settings.engine.at_once(cores)
    return engines * (at_once + settings.engine.waiting(at_once))


def _workers(settings: Settings) -> dict[str, str]:
    """How many images each of several servers works on: together one for each core, where nothing else is said."""
    if settings.engine.workers or settings.engine.device != "cpu":
        return {}
    return {"LUNA_ENGINE__WORKERS": str(max(1, math.ceil(len(os.sched_getaffinity(0)) / settings.grpc.servers)))}


def _metrics(settings: Settings, number: int) -> dict[str, str]:
    """The port of one process's metrics, where they are wanted."""
    return {"LUNA_METRICS__PORT": str(settings.metrics.port + number)} if settings.metrics.port else {}


async def _run(settings: Settings, plan: Plan, certificate: Certificate | None, console: Console) -> None:
    began = time.monotonic()

    def tell(event: Event) -> None:
        if event.what is Happening.READY:
            console.print(f"{event.program} is ready after {event.seconds:.1f} s")
        elif event.what in _SHOWN:
            # the end of a log that a detail may bring along is printed once, when all has been stopped
            what = event.detail.partition("\n")[0] or event.what.value
            console.print(f"{event.program}: {what}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    supervisor = Supervisor(settings.data, plan.programs, listener=tell)
    beside = [asyncio.create_task(_announce(settings, plan, supervisor, console, began))]
    if certificate is not None:
        beside.append(asyncio.create_task(up_certificates.follow(settings, certificate, console)))
    try:
        await supervisor.run()
    finally:
        for task in beside:
            task.cancel()
    console.print("stopped")


async def _announce(settings: Settings, plan: Plan, supervisor: Supervisor, console: Console, began: float) -> None:
    await supervisor.up.wait()
    await _until_healthy(settings, console)
    lines = greeting.lines(settings, plan.login, plan.password)
    title = f"Luna is up after {time.monotonic() - began:.1f} s"
    if console.is_terminal:
        console.print(Panel("\n".join(lines), title=title), markup=False, soft_wrap=True)
    else:
        console.print("\n".join((title, *lines)), markup=False, soft_wrap=True)


async def _free(host: str, port: int, setting: str) -> None:
    """Return if a port is free. Whoever listens on it already would answer the probes; Envoy would even share it.

    Raises:
        OSError: it is not, or the address is not this machine's.
    """
    try:
        probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as error:
        message = f"{host}:{port} cannot be listened on, see {setting}: {error.strerror or error}"
        raise OSError(message) from error
    probe.close()
    await probe.wait_closed()


async def _serving(host: str, port: int, trust: Trust | None = None) -> bool:
    """True once a server process answers SERVING."""
    async with _channel(f"{host}:{port}", trust) as channel:
        try:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            answer = await check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(target: str, trust: Trust | None) -> grpc.aio.Channel:
    if trust is None:
        return grpc.aio.insecure_channel(target)
    credentials, options = trust.channel()
    return grpc.aio.secure_channel(target, credentials, options=options)


async def _engine_serves(settings: Settings) -> bool:
    """True once the shared engine answers SERVING."""
    trust = await asyncio.to_thread(_engine_trust, settings)
    return await _serving(settings.engine.host, settings.engine.port, trust)


async def _rest_answers(settings: Settings, trust: LastingTrust) -> bool:
    """True once Envoy answers, whatever it says. By TLS its certificate is the answer: it may want one in turn."""
    context = await asyncio.to_thread(trust.context)
    if context is None:
        return await _status(_healthcheck(settings)) is not None
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(settings.rest.host, settings.rest.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _takes_lambdas(settings: Settings) -> bool:
    """True once the process of lambdas takes calls."""
    certificate, scheme, context = settings.lambdas.certificate, "http", None
    if certificate is not None:
        trust = await asyncio.to_thread(trusted_itself, certificate, "LUNA_LAMBDAS__CERTIFICATE")
        scheme, context = "https", trust.context()
    return await _status(f"{scheme}://{settings.lambdas.reached_at}{HEALTH}", context) == httpx.codes.OK


async def _until_healthy(settings: Settings, console: Console) -> None:
    """Return once the service says that it is healthy; what it says instead is told when it lasts."""
    if settings.tls.client_ca is not None and settings.tls.client_certificate is None:
        return  # it does not let this process in; the servers themselves have said that they serve
    trust, lasting, since, told = LastingTrust(settings.tls), "", 0.0, ""
    while (answer := await _answer(_healthcheck(settings), trust.context())) is None or answer.is_error:
        detail = _detail(answer)
        if detail != lasting:
            lasting, since = detail, time.monotonic()
        if detail != told and time.monotonic() - since >= PATIENCE_SECONDS:
            console.print(f"not healthy yet: {detail}", style="yellow", markup=False, highlight=False, soft_wrap=True)
            told = detail
        await asyncio.sleep(0.1)


def _detail(answer: httpx.Response | None) -> str:
    """What an answer says is the matter."""
    if answer is None:
        return "REST does not answer"
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"REST answers {answer.status_code}"


def _healthcheck(settings: Settings) -> str:
    return f"{greeting.rest_root(settings)}/6/healthcheck"


async def _status(url: str, context: ssl.SSLContext | None = None) -> int | None:
    answer = await _answer(url, context)
    return None if answer is None else answer.status_code


async def _answer(url: str, context: ssl.SSLContext | None = None) -> httpx.Response | None:
    """The answer to a GET; None where nothing answers."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5, verify=context or True) as client:
            return await client.get(url)
    except httpx.HTTPError:
        return None
