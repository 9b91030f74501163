"""All commands in one place. What a command needs is imported when it runs, so that `luna --help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from pydantic import ValidationError

from server import settings
from server.settings import Settings

if TYPE_CHECKING:
    from server.edge_client import Trust

application = typer.Typer(
    name="luna", help="An open face-recognition backend.", no_args_is_help=True, pretty_exceptions_enable=False
)
config = typer.Typer(help="The settings.", no_args_is_help=True)
models = typer.Typer(help="Model packs.", no_args_is_help=True)
bench = typer.Typer(help="Measurements of accuracy and speed.", no_args_is_help=True)
application.add_typer(config, name="config")
application.add_typer(models, name="models")
application.add_typer(bench, name="bench")

Target = Annotated[
    str,
    typer.Option(
        help="Address of the service's gRPC port; https:// before it is TLS, http:// plain text. "
        "Empty is where the settings say that `luna up` serves it.",
        show_default=False,
    ),
]
Authorities = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of authorities that the service is known by: TLS.")
]
Login = Annotated[str, typer.Option(help="Login; the administrator's where it is empty and this machine runs it.")]
Password = Annotated[str, typer.Option(help="Password of the login.", envvar=settings.PASSWORD)]


def load_settings() -> Settings:
    """The settings of this process; a wrong one ends it with its name."""
    from server.commands.wrong_settings import unknown, wrong

    try:
        return settings.load()
    except ValidationError as error:
        print("\n".join(wrong(error)), file=sys.stderr)
    except settings.UnknownSetting as error:
        print(unknown(error.name), file=sys.stderr)
    raise typer.Exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from server.version import VERSION

        print(".".join(map(str, VERSION)))
        raise typer.Exit


@application.callback()
def luna(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An open face-recognition backend."""


@application.command()
def up() -> None:
    """Run everything that this machine needs: database, Redis, servers, worker, lambdas and Envoy."""
    from server.commands.up import run

    raise typer.Exit(run(load_settings()))


@application.command()
def serve() -> None:
    """Run one server process: gRPC and the facade that Envoy talks to."""
    from server.commands.serve import run

    run(load_settings())


@application.command()
def engine() -> None:
    """Run the inference engine as a process that servers share (LUNA_ENGINE__ADDRESS at the servers)."""
    from server.commands.engine import run

    run(load_settings())


@application.command()
def worker() -> None:
    """Run a worker process: parts of tasks, schedules, and upkeep of the stores."""
    from server.commands.worker import run

    run(load_settings())


@application.command()
def lambdas() -> None:
    """Build and run users' lambdas, and take their calls."""
    from server.commands.lambdas import run

    run(load_settings())


@application.command()
def demo(
    target: Target = "",
    login: Login = "",
    password: Password = "",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("luna-demo"),
    ca: Authorities = None,
) -> None:
    """Enrol and recognise two people of public-domain photographs, and show how."""
    from server.commands.demo import run

    address, trust = reached(target, ca)
    raise typer.Exit(run(address, credentials(login, password), out, trust))


@application.command()
def audit(
    account: Annotated[UUID | None, typer.Option(help="Only what was done with this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries, the newest first.")] = 50,
) -> None:
    """Print who changed what, when and from where."""
    from server.commands.audit import run

    raise typer.Exit(run(load_settings(), account, limit))


@bench.command("engine")
def bench_engine(
    photo: Annotated[
        list[Path] | None, typer.Option(help="Photograph with a face, may be repeated; public-domain ones if none.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.6, help="How long each row of the table is measured.")] = 3.0,
    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, max=256, help="Callers, may be repeated; 1, 2, 4, 8, 16, 32 if none.")
    ] = None,
    target: Annotated[str, typer.Option(help="gRPC port of a service on this machine to measure as well.")] = "",
    login: Login = "",
    password: Password = "",
    ca: Authorities = None,
    out: Annotated[Path | None, typer.Option("--json", help="File for the results as JSON.")] = None,
) -> None:
    """Measure the engine in this process, beside its bare networks and other libraries that are installed."""
    from server.commands.bench_engine import run

    service = None
    if target:
        address, trust = reached(target, ca)
        service = (address, credentials(login, password), trust)
    raise typer.Exit(run(load_settings(), photo or [], seconds, concurrency or [1, 2, 4, 8, 16, 32], service, out))


@bench.command()
def lfw(
    pairs: Annotated[Path, typer.Option(help="Folder with LFW's pairs.txt and images.")],
    target: Target = "",
    login: Login = "",
    password: Password = "",
    limit: Annotated[int, typer.Option(help="Use only so many pairs of each fold; 0 is all.")] = 0,
    ca: Authorities = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Without a service: every descriptor version of the installed packs.")
    ] = False,
) -> None:
    """Verify LFW pairs through the API and report accuracy, AUC and TAR at FAR."""
    from server.commands.bench_lfw import run

    if in_process:
        from server.commands.bench_versions import run as run_in_process

        raise typer.Exit(run_in_process(load_settings(), pairs, limit))
    address, trust = reached(target, ca)
    raise typer.Exit(run(address, credentials(login, password), pairs, limit, trust))


@bench.command()
def detection(
    images: Annotated[Path, typer.Option(help="Folder of images; those in folders below it are used as well.")],
    truth: Annotated[
        Path | None, typer.Option(help="CSV file with the columns filename (below the folder) and faces.")
    ] = None,
    min_face: Annotated[
        list[int] | None, typer.Option(min=20, max=1000, help="Smallest face, may be repeated; the setting if none.")
    ] = None,
) -> None:
    """Count detections in images, and recall and false positives where the faces in them have been counted."""
    from server.commands.bench_detection import run

    settings = load_settings()
    raise typer.Exit(run(settings, images, truth, min_face or [settings.engine.min_face]))


@config.command()
def show() -> None:
    """Print the settings with secrets hidden."""
    from server.commands.configuration import run

    run(load_settings())


@config.command()
def reference() -> None:
    """Print the table of all settings for docs/reference/settings.md."""
    from server.commands.configuration import reference as table

    print(table())


@models.command()
def prepare() -> None:
    """Make the default pack, and see that the other packs of LUNA_ENGINE__PACKS are there."""
    from server.commands.models import run

    raise typer.Exit(run(load_settings()))


@models.command("list")
def list_packs() -> None:
    """Print the packs of the catalogue and those that are installed."""
    from server.commands.model_list import run

    raise typer.Exit(run(load_settings()))


@models.command("show")
def show_pack(name: Annotated[str, typer.Argument(help="Name of the pack.")]) -> None:
    """Print what a pack can do, under which terms, and how well."""
    from server.commands.model_list import show as run

    raise typer.Exit(run(load_settings(), name))


@models.command()
def install(
    name: Annotated[str, typer.Argument(help="Name of a pack of the catalogue, or of one's own in --folder.")],
    file: Annotated[list[Path] | None, typer.Option(help="A file of the pack; may be given again.")] = None,
    folder: Annotated[Path | None, typer.Option(help="A folder with files of the pack.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Install only this task; may be given again.")] = None,
    accept_license: Annotated[bool, typer.Option(help="Accept the licence, where the pack asks for it.")] = False,
) -> None:
    """Install a pack from files or from the addresses in its manifest, checked by length and SHA-256."""
    from server.commands.model_install import Wish
    from server.commands.model_install import install as run

    wish = Wish(name, tuple(file or ()), folder, tuple(only or ()), accept_license)
    raise typer.Exit(run(load_settings(), wish))


@models.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names of packs; all that are installed if none.")] = None,
) -> None:
    """Compare the files of installed packs with their checksums."""
    from server.commands.model_install import verify as run

    raise typer.Exit(run(load_settings(), names or []))


@models.command()
def calibrate(
    name: Annotated[str, typer.Argument(help="Name of an installed pack that makes face descriptors.")],
    pairs: Annotated[Path, typer.Option(help="Folder with pairs.txt as LFW has it, and images.")],
    version: Annotated[int, typer.Option(help="Descriptor version; 0 is the pack's first.")] = 0,
    limit: Annotated[int, typer.Option(help="Use only so many pairs of each fold; 0 is all.")] = 0,
) -> None:
    """Fit what a similarity means to pairs of pictures, and write it into the pack's manifest."""
    from server.commands.model_calibrate import run

    raise typer.Exit(run(load_settings(), name, pairs, version, limit))


@models.command()
def build() -> None:
    """Build TensorRT's plans for the networks of the packs that the settings name."""
    from server.commands.plans import run

    raise typer.Exit(run(load_settings()))


def reached(target: str, ca: Path | None) -> tuple[str, Trust | None]:
    """Host and port of a target, and what is believed of what answers there; None is plain text.

    An empty target is the service of this machine. TLS is where the target begins with https://, where authorities
    are given, and where the settings say so.
    """
    from server.certificates import CertificateUnusable, authorities
    from server.edge_client import Trust, own_of, trust_of

    scheme, _, address = target.rpartition("://")
    if scheme not in {"", "http", "https"}:
        print(f"--target: {target} begins with neither https:// nor http://", file=sys.stderr)
        raise typer.Exit(2)
    if scheme == "http":
        return address, None
    loaded = load_settings()
    tls, address = loaded.tls, address or loaded.grpc.reached
    try:
        if ca is not None:
            return address, Trust(authorities(ca, "--ca"), "", own_of(tls))
        return address, trust_of(tls) or (Trust(own=own_of(tls)) if scheme else None)
    except CertificateUnusable as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


def credentials(login: str, password: str) -> tuple[str, str]:
    """Login and password: those given, or the administrator's of the service that runs from this data folder."""
    if login:
        return login, password
    from server.commands.administrator import read

    return read(load_settings())
