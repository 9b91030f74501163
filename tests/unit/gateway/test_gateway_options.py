"""Aliases, nulls that are values, prefixes, messages in line, and answers that come later: what REST makes of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import pytest
from google.protobuf.message import Message
from luna.v6 import event_filters_pb2, events_pb2, handlers_pb2, images_pb2, policies_pb2, tasks_pb2
from openapi_schema_validator import OAS31Validator

from gateway.binder import Binder
from gateway.documents import read_json
from gateway.endpoints import Endpoint, Forms
from gateway.exchange import Arrival
from gateway.forms import descriptor_of
from gateway.openapi import specification
from gateway.query import Parameters
from gateway.render import Renderer
from gateway.schemas import Direction, Schemas
from server.errors import BadBody, BadQuery, LunaError
from server.rpc.calls import RestOrigin
from server.rpc.methods import Method
from server.rpc.validation import validate

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
FILTERS = event_filters_pb2.EventFilters
EVENTS = events_pb2.DESCRIPTOR.services_by_name["Events"]
IN_QUERY = RestOrigin(frozenset({"filters", "targets", "order", "page", "page_size"}))


def from_json(message: Message, value: object) -> Message:
    Binder(binary=False).bind(message, value)
    return message


def asked(query: str) -> events_pb2.ListEventsRequest:
    request = events_pb2.ListEventsRequest()
    Parameters(descriptor_of(request), IN_QUERY.query_fields).bind(request, {}, query)
    return request


def refused(query: str) -> LunaError:
    with pytest.raises(LunaError) as caught:
        validate(asked(query), IN_QUERY)
    return caught.value


@pytest.mark.parametrize("name", ["mask", "masks", "mask_states"])
def test_a_field_is_taken_under_each_of_its_names_and_written_under_its_own(name: str) -> None:
    bound = from_json(policies_pb2.PolicyFilters(), {name: [1, 3]})
    assert Renderer(binary=False).render(bound) == {"mask": [1, 3]}


def test_two_names_of_one_field_are_refused_by_both_names() -> None:
    with pytest.raises(BadBody, match="only one is allowed of mask, mask_states, masks"):
        from_json(policies_pb2.PolicyFilters(), {"mask": [1], "masks": [1]})


def test_a_schema_has_every_name_and_no_two_of_one_field() -> None:
    schemas = Schemas([policies_pb2.PolicyFilters.DESCRIPTOR], [])
    root = schemas.message(policies_pb2.PolicyFilters.DESCRIPTOR, Direction.REQUEST)
    schema = OAS31Validator({**root, "components": {"schemas": schemas.components}})
    assert schema.is_valid({"masks": [1]})
    assert schema.is_valid({"mask": [1]})
    assert not schema.is_valid({"masks": [1], "mask": [1]})
    assert not schema.is_valid({"mask_": [1]})


NULLS: Mapping[str, object] = {
    "emotions": [None, 1],
    "sources": [None, "gate"],
    "gender": None,
    "origin_longitude": None,
}


def test_null_is_a_value_where_it_is_allowed_and_survives_the_way_back() -> None:
    bound = from_json(FILTERS(), NULLS)
    assert isinstance(bound, FILTERS)
    assert list(bound.emotions) == [images_pb2.EMOTION_UNSPECIFIED, images_pb2.EMOTION_ANGER]
    assert list(bound.sources) == ["", "gate"]
    assert (bound.HasField("gender"), bound.gender) == (True, 0)
    assert math.isnan(bound.origin_longitude)
    validate(bound, None)
    assert Renderer(binary=False).render(bound) == NULLS


def test_the_word_null_is_the_same_in_a_query() -> None:
    request = asked("emotions=null,1&sources=null,gate&gender=null&origin_longitude=null&stream_ids=null")
    validate(request, IN_QUERY)
    assert Renderer(binary=False).render(request.filters) == {**NULLS, "stream_ids": [None]}


@pytest.mark.parametrize(("value", "path"), [
    ({"external_ids": [None]}, "external_ids.0"), ({"age__gte": None}, "age__gte"), ({"emotions": None}, "emotions"),
    ({"handler_ids": [None]}, "handler_ids.0"), ({"emotions": [0]}, "emotions.0"), ({"emotions": []}, "emotions"),
])  # fmt: skip
def test_null_is_refused_elsewhere(value: object, path: str) -> None:
    with pytest.raises(BadBody, match=path):
        from_json(FILTERS(), value)


@pytest.mark.parametrize(("query", "name"), [
    ("external_ids=,", "external_ids"), ("handler_ids=null", "handler_ids"), ("age__gte=null", "age__gte"),
    ("emotions=0", "emotions"), ("emotions=", "emotions"), ("stream_ids=nul", "stream_ids"),
    ("create_time__gte=yesterday", "create_time__gte"), ("end_time__lt=now-3", "end_time__lt"),
    ("origin_longitude=181", "origin_longitude"), ("event_id__gte=x", "event_id__gte"), ("page=0", "page"),
    ("create_time__lt=", "create_time__lt"), ("meta.a=1&meta.a=2", "meta.a"), ("meta.a=%00", "meta"),
])  # fmt: skip
def test_errors_of_parameters_in_line_are_those_of_queries_under_their_own_names(query: str, name: str) -> None:
    error = refused(query)
    assert isinstance(error, BadQuery)
    assert f"'{name}" in error.detail, error.detail
    assert "filters" not in error.detail


@pytest.mark.parametrize(("text", "kept"), [
    ("now-3h", "now-3h"), ("now-12M", "now-12M"), ("2018-02-11T09:00:00Z", "2018-02-11T09:00:00Z"),
    ("2018-02-11T09:00:00+03:00", "2018-02-11T09:00:00+03:00"),
    ("2018-02-11T09:00:00%2B03:00", "2018-02-11T09:00:00+03:00"),
])  # fmt: skip
def test_times_stay_as_they_were_given_but_for_a_lost_plus(text: str, kept: str) -> None:
    request = asked(f"create_time__lt={text}")
    validate(request, IN_QUERY)
    assert request.filters.create_time_lt == kept


@pytest.mark.parametrize("text", [
    "now", "now-3", "now-3H", "now+3h", "NOW-3h", "now-1234567d", "2018-02-11", "20180211T090000Z",
    "2018-W06-7T09:00:00Z",
    "2018-02-11T09:00:00", "2018-02-11 09:00:00Z", "2018-02-30T09:00:00Z", "0001-01-01T00:00:00+05:00",
])  # fmt: skip
def test_other_times_are_refused_for_both_protocols(text: str) -> None:
    with pytest.raises(BadBody, match="create_time_lt"):
        validate(events_pb2.ListEventsRequest(filters=FILTERS(create_time_lt=text)), None)


def test_every_parameter_with_the_prefix_goes_into_the_map() -> None:
    request = asked("meta.path.to__gt:numeric=36.6&meta.a=b&meta.a=b&metaphor=1&meta=2")
    assert dict(request.filters.meta) == {"path.to__gt:numeric": "36.6", "a": "b"}


def test_parameters_in_line_stand_beside_the_others() -> None:
    request = asked(f"event_ids={ID}&page=2&tags=a,b&order=asc")
    assert request == events_pb2.ListEventsRequest(
        filters=FILTERS(event_ids=[ID], tags=["a", "b"]), page=2, order=events_pb2.EVENT_ORDER_ASC
    )


def test_absent_messages_are_filled_to_the_depth_that_their_options_say() -> None:
    request = handlers_pb2.ValidatePoliciesRequest(policies=policies_pb2.Policies())
    validate(request, None)
    made = request.policies
    assert made.detect_policy.face_quality.checks.head_yaw.estimate
    assert made.storage_policy.event_policy.wait_saving
    assert made.storage_policy.event_policy.HasField("filters")
    assert made.extract_policy.HasField("fd_score_threshold")
    assert not made.detect_policy.HasField("pitch_threshold")
    assert not made.detect_policy.face_quality.checks.head_yaw.HasField("threshold")
    untouched = handlers_pb2.CreateHandlerRequest()
    validate(untouched, None)
    assert not untouched.HasField("policies")


class Dispatcher:
    """Answers every call with one response."""

    def __init__(self, response: Message) -> None:
        self._response = response
        self.methods: Mapping[str, Method] = {}

    async def call(self, *_: object, **__: object) -> Message:
        return self._response


@pytest.mark.parametrize(("accepted", "status", "headers"), [
    (False, 201, (("location", "/6/events/a"),)), (True, 202, ()),
])  # fmt: skip
def test_what_is_taken_and_not_yet_done_is_202_without_location(
    accepted: bool, status: int, headers: tuple[tuple[str, str], ...]
) -> None:
    async def unused(_request: object, _context: object) -> Message:
        raise NotImplementedError

    endpoint = Endpoint(Method(EVENTS.methods_by_name["SaveEvent"], unused), Forms())
    response = events_pb2.SaveEventResponse(event_id="a", url="/6/events/a", accepted=accepted)
    arrival = Arrival({"handler_id": ID}, "", "application/json", b"{}", {}, "id")
    answer = asyncio.run(endpoint.answer(arrival, Dispatcher(response), None))  # type: ignore[arg-type]
    assert (answer.status, answer.headers) == (status, headers)
    assert read_json(answer.data) == {"event_id": "a", "url": "/6/events/a"}


def test_the_description_has_the_parameters_that_are_in_line_their_nulls_and_the_prefix() -> None:
    paths = specification([EVENTS])["paths"]
    assert isinstance(paths, dict)
    listed = {one.get("name"): one for one in paths["/6/events"]["get"]["parameters"]}
    assert {"event_ids", "create_time__gte", "meta.name", "target", "page"} <= listed.keys()
    assert "filters" not in listed
    assert listed["meta.name"]["x-prefix"] == "meta."
    assert {"const": "null"} in listed["emotions"]["schema"]["items"]["anyOf"]
    assert {"201", "202"} <= paths["/6/handlers/{handler_id}/events/raw"]["post"]["responses"].keys()


@pytest.mark.parametrize(("given", "meant"), [(0, False), (1, True), (False, False), (True, True)])
def test_a_flag_may_be_taken_as_a_boolean_too_and_is_written_as_a_number(given: object, meant: bool) -> None:
    bound = from_json(tasks_pb2.GcContent(), {"target": "events", "remove_samples": given})
    assert bound.remove_samples is meant
    assert Renderer(binary=False).render(bound)["remove_samples"] == int(meant)
    schemas = Schemas([tasks_pb2.GcContent.DESCRIPTOR], [])
    root = schemas.message(tasks_pb2.GcContent.DESCRIPTOR, Direction.REQUEST)
    schema = OAS31Validator({**root, "components": {"schemas": schemas.components}})
    assert schema.is_valid({"target": "events", "remove_samples": given})
    assert not schema.is_valid({"target": "events", "remove_samples": 2})


@pytest.mark.parametrize("given", [2, -1, 1.0, "1", None, []])
def test_nothing_else_is_a_flag_that_may_be_a_boolean(given: object) -> None:
    with pytest.raises(BadBody, match="remove_samples"):
        from_json(tasks_pb2.GcContent(), {"target": "events", "remove_samples": given})


def test_other_flags_are_no_booleans() -> None:
    with pytest.raises(BadBody, match=r"save_images.*0 or 1 expected"):
        from_json(tasks_pb2.ReporterContent(), {"task_id": 1, "save_images": True})
