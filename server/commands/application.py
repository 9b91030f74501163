"""All commands in one place. What a command needs is imported when it runs, so that `luna --help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import ValidationError

from server import settings
from server.settings import Settings

application = typer.Typer(
    name="luna", help="An open face-recognition backend.", no_args_is_help=True, pretty_exceptions_enable=False
)
config = typer.Typer(help="The settings.", no_args_is_help=True)
models = typer.Typer(help="Model packs.", no_args_is_help=True)
bench = typer.Typer(help="Measurements against a running service.", no_args_is_help=True)
application.add_typer(config, name="config")
application.add_typer(models, name="models")
application.add_typer(bench, name="bench")

Target = Annotated[str, typer.Option(help="Address of the service's gRPC port.")]
Login = Annotated[str, typer.Option(help="Login; the administrator's where it is empty and this machine runs it.")]
Password = Annotated[str, typer.Option(help="Password of the login.", envvar="LUNA_PASSWORD")]


def load_settings() -> Settings:
    """The settings of this process; a wrong one ends it with its name."""
    try:
        return settings.load()
    except ValidationError as error:
        for one in error.errors():
            name = settings.PREFIX + "__".join(str(part) for part in one["loc"]).upper()
            print(f"{name}: {one['msg']}", file=sys.stderr)
        raise typer.Exit(2) from None
    except ValueError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


@application.command()
def up() -> None:
    """Run everything that this machine needs: database, Redis, servers, worker and Envoy."""
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
    """Run the worker process: upkeep of the stores."""
    from server.commands.worker import run

    run(load_settings())


@application.command()
def demo(
    target: Target = "127.0.0.1:50051",
    login: Login = "",
    password: Password = "",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("luna-demo"),
) -> None:
    """Enrol and recognise two people of public-domain photographs, and show how."""
    from server.commands.demo import run

    raise typer.Exit(run(target, credentials(login, password), out))


@application.command()
def audit(
    account: Annotated[UUID | None, typer.Option(help="Only what was done with this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries, the newest first.")] = 50,
) -> None:
    """Print who changed what, when and from where."""
    from server.commands.audit import run

    raise typer.Exit(run(load_settings(), account, limit))


@bench.command()
def lfw(
    pairs: Annotated[Path, typer.Option(help="Folder with LFW's pairs.txt and images.")],
    target: Target = "127.0.0.1:50051",
    login: Login = "",
    password: Password = "",
    limit: Annotated[int, typer.Option(help="Use only so many pairs of each fold; 0 is all.")] = 0,
) -> None:
    """Verify LFW pairs through the API and report accuracy, AUC and TAR at FAR."""
    from server.commands.bench_lfw import run

    raise typer.Exit(run(target, credentials(login, password), pairs, limit))


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
    """Make the model pack that the settings name."""
    from server.commands.models import run

    run(load_settings())


def credentials(login: str, password: str) -> tuple[str, str]:
    """Login and password: those given, or the administrator's of the service that runs from this data folder."""
    if login:
        return login, password
    from server.commands.administrator import read

    return read(load_settings())
