"""What stands in a request's target and headers: routes, templates, queries, content negotiation."""

from __future__ import annotations

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from luna.v6 import attributes_pb2, faces_pb2, lists_pb2, samples_pb2

from gateway.facade import FALLBACK, PACKAGE, facade_bytes, facade_names, facade_set
from gateway.forms import descriptor_of
from gateway.query import Parameters
from gateway.routes import Routes
from gateway.templates import rules, split, template
from server.errors import LunaError, MethodNotAllowed, PathNotFound
from server.rpc.accept import choose
from server.rpc.methods import Method, unary
from tests.edge import services


async def _unused(_request: object, _context: object) -> Message:
    raise NotImplementedError


METHODS = [Method(one, _unused) for service in services() for one in unary(service)]
ROUTES = Routes(METHODS)
DETECT = samples_pb2.DetectFacesRequest
EXTRACT = attributes_pb2.ExtractAttributesRequest


def test_every_binding_leads_to_its_method_with_its_variables() -> None:
    for method in METHODS:
        for verb, path in rules(method.http):
            shape = template(path)
            values = {name: f"value {name}" for name in shape.variables.values()}
            target = shape.filled({name: value.replace(" ", "%20") for name, value in values.items()})
            found = ROUTES.find(verb, target)
            assert found.method.name == method.name
            assert bool(found.location) == (path in method.rest.redirects)
            if not found.location:
                assert found.variables == values


def test_the_most_specific_template_decides() -> None:
    assert ROUTES.find("GET", "/6/faces/count").method.name == "luna.v6.Faces.CountFaces"
    assert ROUTES.find("GET", "/6/faces/counts").method.name == "luna.v6.Faces.GetFace"
    with pytest.raises(MethodNotAllowed):
        ROUTES.find("DELETE", "/6/faces/count")
    with pytest.raises(MethodNotAllowed):
        ROUTES.find("head", "/6/faces/x")
    assert ROUTES.allowed("/6/samples/x") == ("DELETE", "GET", "HEAD", "OPTIONS", "POST")


@settings(deadline=None)
@given(st.text("/6facesount%.{}*:", max_size=20))
def test_any_path_is_found_or_refused(path: str) -> None:
    try:
        found = ROUTES.find("GET", path)
    except LunaError as error:
        assert error.status in {400, 404, 405}
    else:
        assert all(value for value in found.variables.values())


@pytest.mark.parametrize(
    "path", ["", "6/faces", "/6/faces//", "//6/faces", "/6//faces", "/6/FACES", "*", "/6/faces/a/b/c/d"]
)
def test_other_paths_are_not_found(path: str) -> None:
    with pytest.raises(PathNotFound):
        ROUTES.find("GET", path)


def test_the_rest_of_a_path_keeps_its_encoded_slashes() -> None:
    proxy = template("/6/lambdas/{lambda_id}/proxy/{path=**}")
    assert proxy.fits(split("/6/lambdas/a/proxy/b/c%2Fd/e%20f"))
    assert proxy.values(split("/6/lambdas/a%2Fb/proxy/b/c%2Fd/e%20f")) == {"lambda_id": "a/b", "path": "b/c%2Fd/e f"}
    assert not proxy.fits(split("/6/lambdas//proxy/b"))
    for bad in ("/6/{a=**}/b", "/6/a:verb", "/6/{a=b/*}", "6/a"):
        with pytest.raises(ValueError, match="routes understand"):
            template(bad)


def test_the_facade_has_every_method_with_its_paths_as_wildcards() -> None:
    facade = facade_set(services())
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(facade_bytes(reversed(services()))).file:
        pool.Add(file)
    for method in METHODS:
        if method.http.WhichOneof("pattern") is None:
            assert method.name in {one.rest.diversion for one in METHODS}
            continue
        made = pool.FindMethodByName(f"{PACKAGE}.{method.descriptor.containing_service.name}.{method.descriptor.name}")
        assert {made.input_type.full_name, made.output_type.full_name} == {"google.api.HttpBody"}
        bound = set(rules(made.GetOptions().Extensions[annotations_pb2.http]))
        plain = {(verb, template(path).wildcard_path) for verb, path in rules(method.http)}
        heads = {("HEAD", path) for verb, path in plain if verb == "GET" and method.rest.head}
        assert bound == plain | heads
    assert facade_names(facade) == [*sorted(f"{PACKAGE}.{one.name}" for one in services()), f"{PACKAGE}.{FALLBACK}"]
    assert facade_bytes(services()) == facade_bytes(reversed(services()))


def bound(message: Message, query: str, variables: dict[str, str] | None = None) -> Message:
    descriptor = descriptor_of(message)
    path = variables or {}
    asked = [field.name for field in descriptor.fields if field.name not in path]
    Parameters(descriptor, asked, path).bind(message, path, query)
    return message


@pytest.mark.parametrize(("message", "query", "same"), [
    (faces_pb2.ListFacesRequest(), "", faces_pb2.ListFacesRequest()),
    (faces_pb2.ListFacesRequest(), "page=2&page=2&unknown=3&&=", faces_pb2.ListFacesRequest(page=2)),
    (faces_pb2.ListFacesRequest(), "face_ids=a,b&face_ids=c", faces_pb2.ListFacesRequest(face_ids=["a", "b", "c"])),
    (faces_pb2.ListFacesRequest(), "face_ids=", faces_pb2.ListFacesRequest()),
    (
        faces_pb2.ListFacesRequest(),
        "targets=face_id,+lists",
        faces_pb2.ListFacesRequest(targets=[faces_pb2.FACE_FIELD_FACE_ID, faces_pb2.FACE_FIELD_LISTS]),
    ),
    (faces_pb2.ListFacesRequest(), "user_data=a%2Cb+c%D0%9F", faces_pb2.ListFacesRequest(user_data="a,b cП")),
    (faces_pb2.ListFacesRequest(), "user%5Fdata=a=b", faces_pb2.ListFacesRequest(user_data="a=b")),
    (faces_pb2.DeleteFacesRequest(), "ignore=0", faces_pb2.DeleteFacesRequest(ignore=False)),
    (
        DETECT(),
        "multiface_policy=2&yaw_threshold=0",
        DETECT(multiface_policy=samples_pb2.MULTIFACE_POLICY_BEST, yaw_threshold=0),
    ),
    (EXTRACT(), "score_threshold=5e-1", EXTRACT(score_threshold=0.5)),
    (EXTRACT(), "score_threshold=1", EXTRACT(score_threshold=1)),
])  # fmt: skip
def test_queries_set_fields(message: Message, query: str, same: Message) -> None:
    assert bound(message, query) == same


@pytest.mark.parametrize("text", ["2018-02-11T09:00:00%2B03:00", "2018-02-11T09:00:00+03:00", "2018-02-11T06:00:00Z"])
def test_a_plus_that_became_a_space_is_still_an_offset(text: str) -> None:
    request = bound(lists_pb2.ListListsRequest(), f"create_time__lt={text}")
    assert request == lists_pb2.ListListsRequest(create_time_lt=Timestamp(seconds=1518328800))


@pytest.mark.parametrize(("query", "code", "name"), [
    ("page=", 12012, "page"), ("page=1.0", 12012, "page"), ("page=1_0", 12012, "page"), ("page=+1", 12012, "page"),
    ("page=%D9%A1", 12012, "page"), ("page=99999999999", 12012, "page"), ("page=1&page=2", 12012, "page"),
    ("targets=nose", 22016, "nose"), ("targets=1", 22016, "allowed are: face_id"), ("face_ids=a,,b", 12012, "face_ids"),
    ("create_time__lt=2018", 12012, "create_time__lt"), ("user_data=%ff", 12012, "user_data"),
    ("&" * 1000, 12012, "1000"),
])  # fmt: skip
def test_bad_parameters_are_named(query: str, code: int, name: str) -> None:
    with pytest.raises(LunaError) as caught:
        bound(faces_pb2.ListFacesRequest(), query)
    assert (caught.value.code, name in caught.value.detail) == (code, True), caught.value.detail


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "0x1", "", "1,5", ".5", "1" * 400])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(LunaError, match="score_threshold"):
        bound(attributes_pb2.ExtractAttributesRequest(), f"score_threshold={text}")


def test_a_path_variable_wins_over_a_parameter_of_its_name() -> None:
    assert bound(faces_pb2.GetFaceRequest(), "face_id=b", {"face_id": "a"}) == faces_pb2.GetFaceRequest(face_id="a")
    sample = bound(samples_pb2.GetSampleRequest(), "", {"samples_type": "bodies", "sample_id": "a"})
    assert sample == samples_pb2.GetSampleRequest(samples_type=samples_pb2.SAMPLE_TYPE_BODIES, sample_id="a")


@settings(deadline=None)
@given(st.text("pagefc_ids=&%2+,;", max_size=30))
def test_any_query_is_bound_or_refused(query: str) -> None:
    try:
        bound(faces_pb2.ListFacesRequest(), query)
    except LunaError as error:
        assert error.status == 400


@pytest.mark.parametrize(("accept", "chosen"), [
    ("", "a/j"), ("*/*", "a/j"), ("a/*", "a/j"), ("a/m", "a/m"), ("A/M ; q=1", "a/m"), ("a/j;q=0.5,a/m", "a/m"),
    ("a/j;q=0, */*", "a/m"), ("a/m;q=0.1, */*;q=0.2", "a/j"), ("text/html", None), ("a/j;q=0", None), ("a/m;q=x", None),
    (",,", "a/j"), ("text/html, */*;q=0.1", "a/j"), ("a/m;v=1;q=0.9, a/j;q=0.8", "a/m"),
])  # fmt: skip
def test_the_form_that_is_wanted_most_is_chosen(accept: str, chosen: str | None) -> None:
    assert choose(accept, ("a/j", "a/m")) == chosen
