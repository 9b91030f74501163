"""The protos are the reference manual: they are named by one rule, and nothing in them lacks its comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from luna import options_pb2

ROOT = Path(__file__).resolve().parent.parent.parent / "protos"
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PASCAL = re.compile(r"([A-Z][a-z0-9]+)+")


@cache
def files(folder: Path) -> tuple[FileDescriptorProto, ...]:
    """Our own files, with the comments that generated code leaves out."""
    import google.api
    import grpc_tools

    out = folder / "protos.pb"
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    apis = Path(next(iter(google.api.__path__))).parent.parent
    sources = [str(path) for path in sorted(ROOT.rglob("*.proto"))]
    arguments = [f"-I{ROOT}", f"-I{well_known}", f"-I{apis}", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *arguments, *sources]) == 0
    return tuple(FileDescriptorSet.FromString(out.read_bytes()).file)


@pytest.fixture(scope="session")
def protos(tmp_path_factory: pytest.TempPathFactory) -> tuple[FileDescriptorProto, ...]:
    return files(tmp_path_factory.mktemp("protos"))


def elements(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Path in the source info and name of everything that needs a comment."""
    for number, message in enumerate(file.message_type):
        yield from _message((4, number), message)
    for number, enum in enumerate(file.enum_type):
        yield (5, number), enum.name
        for place, value in enumerate(enum.value):
            if place > 0 and not value.options.HasExtension(options_pb2.value):
                yield (5, number, 2, place), f"{enum.name}.{value.name}"
    for number, service in enumerate(file.service):
        yield (6, number), service.name
        for place, method in enumerate(service.method):
            yield (6, number, 2, place), f"{service.name}.{method.name}"


def _message(path: tuple[int, ...], message: DescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    if message.options.map_entry:
        return
    yield path, message.name
    for number, field in enumerate(message.field):
        yield (*path, 2, number), f"{message.name}.{field.name}"
    for number, nested in enumerate(message.nested_type):
        yield from _message((*path, 3, number), nested)


def test_everything_has_a_comment(protos: tuple[FileDescriptorProto, ...]) -> None:
    bare = []
    for file in protos:
        said = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
        bare += [f"{file.name}: {name}" for path, name in elements(file) if name and not said.get(path, "").strip()]
    assert bare == []


def test_every_file_begins_with_what_it_is_about(protos: tuple[FileDescriptorProto, ...]) -> None:
    for file in protos:
        syntax = [one for one in file.source_code_info.location if tuple(one.path) == (12,)]
        assert syntax and syntax[0].leading_comments.strip(), file.name


def test_names_follow_one_rule(protos: tuple[FileDescriptorProto, ...]) -> None:
    for file in protos:
        for message in file.message_type:
            assert PASCAL.fullmatch(message.name), message.name
            for field in message.field:
                assert SNAKE.fullmatch(field.name), f"{message.name}.{field.name}"
        for enum in file.enum_type:
            prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
            assert enum.value[0].name == f"{prefix}UNSPECIFIED", enum.name
            assert enum.value[0].number == 0, enum.name
            assert all(value.name.startswith(prefix) for value in enum.value), enum.name


def test_every_rpc_has_a_request_of_its_own_and_one_of_the_api_a_path_and_an_access_rule(
    protos: tuple[FileDescriptorProto, ...],
) -> None:
    seen = set()
    rests = [method.options for file in protos for service in file.service for method in service.method]
    # what another method asks in its stead has that one's path
    diversions = {options.Extensions[options_pb2.rest].diversion for options in rests}
    for file in protos:
        for service in file.service:
            for method in service.method:
                name = f"{service.name}.{method.name}"
                assert method.input_type == f".{file.package}.{method.name}Request", name
                assert method.input_type not in seen, name
                seen.add(method.input_type)
                # Luna's own processes speak by what is in no REST form and knows no accounts
                of_api = file.package == "luna.v6"
                assert method.options.HasExtension(options_pb2.access) is of_api, name
                # a stream is no REST call: what there is of it in REST is a WebSocket, or another process answers
                proxied = method.options.Extensions[options_pb2.rest].proxied
                answers = not method.server_streaming or proxied
                in_rest = of_api and answers and f"{file.package}.{name}" not in diversions
                assert method.options.HasExtension(annotations_pb2.http) is in_rest, name


def test_a_field_that_ends_in_two_underscores_in_rest_says_so_by_an_option(
    protos: tuple[FileDescriptorProto, ...],
) -> None:
    for file in protos:
        for message in file.message_type:
            for field in message.field:
                name = field.options.Extensions[options_pb2.field].name
                if field.name.endswith(("_lt", "_gte")) and name:
                    assert name.replace("__", "_") == field.name
