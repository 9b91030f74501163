"""Events that the caller made, and reading them: by REST, as a client meets them."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import requests

from server.domain.event_reading import AGGREGATORS, RULES
from tests.service import Account, Service, running

Body = Mapping[str, Any]
NOBODY = "5a3f1f0e-6c1b-4a54-8f43-0a4f5d1f6f10"
FACE = {"rect": {"x": 1, "y": 2, "width": 30, "height": 40}, "landmarks5": []}
EMOTIONS = dict.fromkeys(("anger", "disgust", "fear", "sadness", "surprise", "neutral"), 0.1) | {"happiness": 0.4}


def a_face(**attributes: object) -> dict[str, object]:
    return {**FACE, "attributes": attributes}


FULL: Body = {
    "detections": [
        {
            "samples": {
                "face": {
                    "sample_id": NOBODY,
                    "detection": a_face(
                        emotions={"predominant_emotion": "happiness", "estimations": EMOTIONS},
                        mask={
                            "predominant_mask": "missing",
                            "estimations": {"missing": 1, "medical_mask": 0, "occluded": 0},
                        },
                        liveness={"prediction": "spoof", "estimations": {"score": 0.1, "quality": 1}},
                        basic_attributes={"age": 99, "gender": 1, "ethnicities": None},
                    ),
                },
                "body": {
                    "sample_id": None,
                    "detection": {
                        "rect": {"x": 0, "y": 0, "width": 3, "height": 4},
                        "attributes": {
                            "basic_attributes": {"apparent_gender": 2, "apparent_age": 33},
                            "upper_body": {
                                "headwear": {"state": 1, "apparent_color": "black"},
                                "sleeve": {"length": "short"},
                                "upper_clothing": {"colors": ["red", "white"]},
                            },
                            "lower_body": {
                                "lower_garment": {"type": "skirt", "colors": ["blue"]},
                                "shoes": {"apparent_color": "other"},
                            },
                            "accessories": {"backpack": {"state": 0}},
                        },
                    },
                },
            },
            "detect_time": "2024-02-03T04:05:06.789Z",
            "detect_ts": 0,
            "image_origin": "http://example.com/1.jpg",
        },
        {"samples": {"face": {"sample_id": None, "detection": None}}},
    ],
    "source": "gate 1",
    "stream_id": "8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a",
    "location": {"city": "City", "street": None, "geo_position": {"longitude": 179.995, "latitude": -45.5}},
    "external_id": "person-1",
    "user_data": "50% of_it",
    "track_id": "track_1",
    "face": {"face_id": NOBODY, "lists": [NOBODY], "user_data": "u", "external_id": "e", "avatar": ""},
    "matches": [
        {
            "label": "known",
            "candidates": [
                {"similarity": 0.25, "face": {"face_id": NOBODY, "external_id": "second"}},
                {
                    "similarity": 0.75,
                    "face": {"face_id": "8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a", "external_id": "best"},
                },
            ],
        },
        {"label": "nobody", "candidates": []},
    ],
    "face_attributes": {
        "basic_attributes": {
            "age": 44,
            "gender": 0,
            "ethnicities": {
                "predominant_ethnicity": "asian",
                "estimations": {"african_american": 0, "indian": 0, "asian": 1, "caucasian": 0},
            },
        },
        "score": 0.5,
        "samples": [NOBODY],
        "descriptor": {"descriptor": base64.b64encode(bytes(256)).decode(), "version": 1001},
    },
    "body_attributes": {"score": 0.25, "samples": []},
    "aggregate_estimations": {"face": {"attributes": {}}, "body": {"attributes": {}}},
    "tags": ["one", "two"],
    "create_time": "2024-02-03T04:05:06.789012Z",
    "end_time": "2024-02-03T05:05:06+01:00",
    "meta": {"badge": "b-1", "temperature": 36.75, "zone": {"floor": 3}},
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as one:
        yield one


@dataclass
class Client:
    """An account with a dynamic handler."""

    service: Service
    account: Account
    handler: str = field(default="", init=False)

    def __post_init__(self) -> None:
        body = {"description": "dynamic", "handler_type": 1}
        self.handler = self.ask("POST", "/handlers", body).json()["handler_id"]

    def ask(self, verb: str, path: str, body: Any = None, **query: object) -> requests.Response:
        return requests.request(
            verb,
            f"{self.service.rest}/6{path}",
            json=body,
            params=cast("dict[str, str]", query),
            auth=self.account.auth,
            timeout=30,
        )

    def save(self, handler: str = "", /, wait_saving: int | None = None, **event: object) -> requests.Response:
        query = {} if wait_saving is None else {"wait_saving": wait_saving}
        return self.ask("POST", f"/handlers/{handler or self.handler}/events/raw", event, **query)

    def saved(self, **event: object) -> str:
        answer = self.save(**event)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["event_id"])

    def found(self, **query: object) -> list[str]:
        answer = self.ask("GET", "/events", **query)
        assert answer.status_code == 200, answer.text
        return [one["event_id"] for one in answer.json()["events"]]

    def counted(self, *filters: object, **query: object) -> Any:
        answer = self.ask("POST", "/events/stats", {"filters": list(filters), **query})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service, service.account())


def refusal(answer: requests.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["error_code"]


def test_a_saved_event_is_read_as_it_was_made(client: Client) -> None:
    answer = client.save(**FULL)
    assert answer.status_code == 201, answer.text
    event_id = answer.json()["event_id"]
    assert answer.json() == {"event_id": event_id, "url": f"/6/events/{event_id}"}
    assert answer.headers["location"] == f"/6/events/{event_id}"
    assert client.ask("HEAD", f"/events/{event_id}").status_code == 200
    stored = client.ask("GET", f"/events/{event_id}").json()
    best = {"face_id": "8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a", "external_id": "best"}
    assert stored == {
        "event_id": event_id,
        "account_id": client.account.account_id,
        "handler_id": client.handler,
        "create_time": "2024-02-03T04:05:06.789012Z",
        "end_time": "2024-02-03T04:05:06.000000Z",
        "external_id": "person-1",
        "user_data": "50% of_it",
        "source": "gate 1",
        "stream_id": "8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a",
        "track_id": "track_1",
        "face_id": NOBODY,
        "tags": ["one", "two"],
        "location": {
            "city": "City",
            "area": None,
            "district": None,
            "street": None,
            "house_number": None,
            "geo_position": {"longitude": 179.995, "latitude": -45.5},
        },
        "gender": 0,
        "age": 44,
        "emotion": 4,
        "mask": 1,
        "ethnic_group": 3,
        "liveness": 0,
        "top_match": {"label": "known", "similarity": 0.75, "event_id": None, **best},
        "match_result": [
            {
                "label": "known",
                "candidates": [
                    {"similarity": 0.75, "face": best},
                    {"similarity": 0.25, "face": {"face_id": NOBODY, "external_id": "second"}},
                ],
            },
            {"label": "nobody", "candidates": []},
        ],
        "face_detections": [
            {
                "sample_id": NOBODY,
                "image_origin": "http://example.com/1.jpg",
                "detect_time": "2024-02-03T04:05:06.789000Z",
                "detect_ts": 0,
                "detection": {"rect": {"x": 1, "y": 2, "width": 30, "height": 40}},
            },
            {
                "sample_id": None,
                "image_origin": None,
                "detect_time": stored["face_detections"][1]["detect_time"],
                "detect_ts": None,
                "detection": {"rect": None},
            },
        ],
        "body_detections": [
            {
                "sample_id": None,
                "image_origin": "http://example.com/1.jpg",
                "detect_time": "2024-02-03T04:05:06.789000Z",
                "detect_ts": 0,
                "detection": {"rect": {"x": 0, "y": 0, "width": 3, "height": 4}},
            }
        ],
        "attach_result": [NOBODY],
        "body_basic_attributes": {"apparent_gender": 2, "apparent_age": 33},
        "upper_body": {
            "headwear": {"state": 1, "apparent_color": "black"},
            "sleeve": {"length": "short"},
            "upper_clothing": {"colors": ["red", "white"]},
        },
        "lower_body": {
            "lower_garment": {"type": "skirt", "colors": ["blue"]},
            "shoes": {"apparent_color": "other"},
        },
        "accessories": {"backpack": {"state": 0}},
        "meta": {"badge": "b-1", "temperature": 36.75, "zone": {"floor": 3}},
    }


def test_an_event_of_nothing_has_nulls(client: Client) -> None:
    before = datetime.now(UTC)
    event_id = client.saved()
    stored = client.ask("GET", f"/events/{event_id}").json()
    assert before <= datetime.fromisoformat(stored["create_time"]) == datetime.fromisoformat(stored["end_time"])
    nulls = {"source", "stream_id", "track_id", "face_id", "gender", "age", "emotion", "mask", "ethnic_group"}
    nulls |= {"liveness", "top_match", "meta"}
    assert {name for name, value in stored.items() if value is None} == nulls
    assert (stored["external_id"], stored["user_data"], stored["tags"], stored["match_result"]) == ("", "", [], [])
    assert stored["upper_body"]["headwear"] == {"state": None, "apparent_color": None}
    assert client.found(sources="null", track_ids="null", genders="ignored", gender="null") == [event_id]


def test_targets_choose_fields(client: Client) -> None:
    event_id = client.saved(source="cam")
    stored = client.ask("GET", f"/events/{event_id}", target="source,tags").json()
    assert stored == {"source": "cam", "tags": []}
    assert client.ask("GET", "/events", target="event_id,age").json() == {
        "events": [{"event_id": event_id, "age": None}]
    }
    assert refusal(client.ask("GET", "/events", target="none"))[0] == 400


def test_an_event_that_is_taken_is_kept_soon(client: Client) -> None:
    answer = client.save(wait_saving=0, external_id="soon")
    assert answer.status_code == 202, answer.text
    event_id = answer.json()["event_id"]
    end = time.monotonic() + 10
    while client.found(external_ids="soon") != [event_id]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_only_dynamic_handlers_of_the_own_account_take_events(client: Client, service: Service) -> None:
    static = client.ask("POST", "/handlers", {"description": "", "policies": {}}).json()["handler_id"]
    assert refusal(client.save(static)) == (403, 34007)
    assert refusal(client.save(NOBODY)) == (404, 34000)
    other = Client(service, service.account())
    assert refusal(client.save(other.handler)) == (404, 34000)
    assert client.found() == []


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"tags": ["x" * 37]}, "tags"),
        ({"track_id": "a b"}, "track_id"),
        ({"location": {"geo_position": {"longitude": 181, "latitude": 0}}}, "longitude"),
        ({"matches": [{"label": "m", "candidates": [{"similarity": 0.5}]}]}, "matches.0.candidates.0"),
        ({"matches": [{"label": "m", "candidates": [{"face": {"face_id": NOBODY}}]}]}, "similarity"),
        ({"matches": [{"label": "m", "candidates": [{"similarity": 0.5, "face": {"face_id": "x"}}]}]}, "face_id"),
        ({"matches": [{"label": "m", "candidates": [{"similarity": 0.5, "event": {"source": "x"}}]}]}, "event_id"),
        ({"face_attributes": {"basic_attributes": {"age": 101}}}, "basic_attributes.age"),
        ({"face_attributes": {"descriptor": {"descriptor": "AAAA", "version": 1001}}}, ""),
        ({"body_attributes": {"descriptor": {"descriptor": "AAAA", "version": 1001}}}, ""),
        ({"meta": {"a": "\0"}}, "meta"),
        ({"create_time": "yesterday"}, "create_time"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_event_is_refused_with_the_name_of_the_field(client: Client, event: Body, named: str) -> None:
    answer = client.save(**event)
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["detail"], answer.text
    assert "'event." not in answer.json()["detail"], "the body is the event, and has no member of that name"
    assert client.found() == []


@pytest.mark.parametrize(
    ("verb", "path", "body", "named"),
    [
        ("POST", "/handlers/{handler}/events/raw", {"tags": ["x" * 37]}, "'tags.0'"),
        ("POST", "/handlers/{handler}/events/raw", {"unknown": 1}, "'unknown'"),
        ("POST", "/handlers/{handler}/events/raw", {"matches": [{}]}, "'matches.0.label'"),
        ("POST", "/handlers/{handler}/events/raw", {"matches": [{"label": "m", "candidates": [{}]}]}, "'matches.0."),
        ("PUT", f"/faces/{NOBODY}/attributes", {"face_descriptors": [1]}, "'face_descriptors.0'"),
        ("POST", "/extractor", ["x"], "'0'"),
    ],
)
def test_where_a_field_is_the_whole_body_paths_begin_inside_it(
    client: Client, verb: str, path: str, body: object, named: str
) -> None:
    answer = client.ask(verb, path.format(handler=client.handler), body)
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["detail"], answer.text


def test_a_list_is_of_a_month_unless_a_time_or_an_event_is_named(client: Client) -> None:
    now = datetime.now(UTC)
    old = client.saved(create_time=(now - timedelta(days=40)).isoformat())
    new = client.saved()
    future = client.saved(create_time=(now + timedelta(days=400)).isoformat())
    assert client.found() == [future, new]
    assert client.found(create_time__lt=now.isoformat()) == [old]
    assert client.found(create_time__gte="2000-01-01T00:00:00Z") == [future, new, old]
    assert client.found(event_ids=old) == [old]
    assert client.found(event_id__gte=str(UUID(int=0))) == [future, new, old]
    assert client.found(event_id__lt=new, order="asc") == [old]
    assert client.found(order="asc") == [new, future]
    assert client.found(page_size=1, page=2) == [new]


def test_filters_find_what_was_saved(client: Client) -> None:
    event_id = client.saved(**FULL)
    client.saved()
    times = {"create_time__gte": "2024-01-01T00:00:00Z", "create_time__lt": "2025-01-01T00:00:00Z"}
    yes: list[dict[str, object]] = [
        {"handler_ids": client.handler},
        {"external_ids": "x,person-1"},
        {"user_data": "% of_"},
        {"sources": "gate 1,null"},
        {"stream_ids": FULL["stream_id"]},
        {"track_ids": "track_1"},
        {"face_ids": NOBODY},
        {"tags": "two,one"},
        {"cities": "City"},
        {"streets": "null"},
        {"origin_longitude": -179.9, "origin_latitude": -45.5, "longitude_delta": 0.2, "latitude_delta": 1},
        {"top_matching_candidates_label": "known"},
        {"top_similar_object_ids": "8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"},
        {"top_similar_external_ids": "best"},
        {"top_similar_object_similarity__gte": 0.75, "top_similar_object_similarity__lt": 0.76},
        {"gender": 0},
        {"age__gte": 44, "age__lt": 45},
        {"emotions": "1,4"},
        {"masks": "1"},
        {"ethnic_groups": "3,null"},
        {"liveness": 0},
        {"apparent_gender": "2"},
        {"apparent_age__gte": 33, "apparent_age__lt": 34},
        {"headwear_states": 1},
        {"headwear_apparent_colors": "black"},
        {"sleeve_lengths": "short"},
        {"upper_clothing_colors": "green,white"},
        {"lower_garment_types": "skirt"},
        {"lower_garment_colors": "blue"},
        {"shoes_apparent_colors": "other"},
        {"backpack_states": 0},
        {"end_time__gte": "2024-02-03T04:05:06Z", "end_time__lt": "2024-02-03T04:05:07Z"},
        {"meta.badge": "b-1"},
        {"meta.temperature__gt:numeric": "36.6"},
        {"meta.zone.floor:integer": 3},
        {"meta.zone.floor__in:integer": "1,3"},
        {"meta.badge__like": "b-"},
        {"meta.none": "null"},
    ]
    for query in yes:
        assert client.found(**times, **query) == [event_id], query
    no: list[dict[str, object]] = [
        {"handler_ids": NOBODY},
        {"sources": "null"},
        {"tags": "one,three"},
        {"origin_longitude": "null", "origin_latitude": "null"},
        {"gender": 1},
        {"age__gte": 45},
        {"upper_clothing_colors": "green,null"},
        {"meta.badge": "null"},
        {"meta.zone.floor": "3"},
        {"meta.temperature__lt:numeric": "36.6"},
    ]
    for query in no:
        assert client.found(**times, **query) == [], query
    bad: list[dict[str, object]] = [
        {"origin_longitude": 1},
        {"meta.a__like:integer": "1"},
        {"meta." + ".".join("a" * 40): "1"},
        {"age__gte": "x"},
        {"create_time__gte": "x"},
        {"page": 0},
        {"page_size": 1001},
    ]
    for query in bad:
        answer = client.ask("GET", "/events", **query)
        assert refusal(answer)[0] == 400, query
        assert next(iter(query)).split("_")[0].split(".")[0] in answer.json()["detail"], answer.text


def test_accounts_are_walls(client: Client, service: Service) -> None:
    event_id = client.saved(external_id="ours")
    other = Client(service, service.account())
    assert refusal(other.ask("GET", f"/events/{event_id}")) == (404, 23001)
    assert other.ask("HEAD", f"/events/{event_id}").status_code == 404
    assert other.found(event_ids=event_id) == []
    assert other.found(account_id=client.account.account_id) == []
    assert other.counted({"column": "account_id", "operator": "eq", "value": client.account.account_id})["stats"] == [
        [0]
    ]


def test_statistics_count_and_group(client: Client) -> None:
    day = datetime(2024, 2, 3, tzinfo=UTC)
    for hour, age in ((1, 20), (1, 30), (2, None)):
        basic = {} if age is None else {"face_attributes": {"basic_attributes": {"age": age, "gender": 1}}}
        client.saved(create_time=(day + timedelta(hours=hour, minutes=7)).isoformat(), source=f"cam-{hour}", **basic)
    assert client.counted() == {"fields": ["event_id__count"], "stats": [[3]]}
    targets = [{"column": "source", "aggregator": "group_by"}, {"column": "age", "aggregator": "avg"}]
    answer = client.counted(targets=targets)
    assert answer == {"fields": ["source", "age__avg"], "stats": [["cam-1", 25], ["cam-2", None]]}
    answer = client.counted(group_by="1h")
    assert answer["fields"] == ["create_time", "event_id__count"]
    assert answer["stats"] == [["2024-02-03T01:00:00.000000Z", 2], ["2024-02-03T02:00:00.000000Z", 1]]
    assert client.counted(group_by="hourOfDay")["stats"] == [[1, 2], [2, 1]]
    for period in (
        [{"column": "create_time", "operator": "gte", "value": "2024-02-03T02:00:00Z"}],
        [{"create_time__gte": "2024-02-03T02:00:00Z", "create_time__lt": "2024-02-03T03:00:00Z"}],
    ):
        assert client.counted(period=period)["stats"] == [[1]]
    assert client.counted(period=[])["stats"] == [[3]]
    filters = [
        {"column": "age", "operator": "gte", "value": 25},
        {"column": "source", "operator": "in", "value": ["cam-1", None]},
    ]
    assert client.counted(*filters)["stats"] == [[1]]
    assert client.counted({"column": "gender", "operator": "eq", "value": None})["stats"] == [[1]]


def test_statistics_of_meta_go_by_the_types_that_values_have(client: Client) -> None:
    for meta in ({"heat": 36.5}, {"heat": 38}, {"heat": "none", "badge": "b"}, {"badge": "a"}, {"heat": None}):
        client.saved(meta=meta)
    targets = [
        {"column": column, "aggregator": one}
        for column in ("meta.heat", "meta.badge")
        for one in ("count", "min", "max", "avg")
    ]
    answer = client.counted(targets=targets)
    assert answer["fields"][:2] == ["meta.heat__count", "meta.heat__min"]
    assert answer["stats"] == [[3, 36.5, 38, 37.25, 2, "a", "b", None]]
    for operator, value, count in (
        ("gt", 37, 1),
        ("eq", 38, 1),
        ("in", [36.5, 38, None], 5),
        ("nin", [38], 4),
        ("eq", "none", 1),
        ("like", "on", 1),
        ("in", ["none", "b"], 1),
    ):
        found = client.counted({"column": "meta.heat", "operator": operator, "value": value})
        assert found["stats"] == [[count]], (operator, value)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"targets": [{"column": "source", "aggregator": "group_by"}]}, "targets"),
        ({"targets": [{"column": "source", "aggregator": "avg"}]}, "targets.0.aggregator"),
        ({"targets": [{"column": "none", "aggregator": "count"}]}, "targets.0.column"),
        ({"targets": [{"column": "meta.a:string", "aggregator": "avg"}]}, "targets.0.aggregator"),
        ({"targets": [{"column": "meta.a", "aggregator": "group_by"}]}, "targets"),
        ({"filters": [{"column": "meta.a", "operator": "like", "value": 1}]}, "filters.0.operator"),
        ({"filters": [{"column": "meta.a", "operator": "in", "value": [1, "a"]}]}, "filters.0.value.1"),
        ({"targets": [{"column": "meta.a:text", "aggregator": "count"}]}, "targets.0.column"),
        ({"targets": [{"column": "age", "aggregator": "sum"}]}, "aggregator"),
        ({"filters": [{"column": "source", "operator": "gt", "value": "a"}]}, "filters.0.operator"),
        ({"filters": [{"column": "age", "operator": "eq", "value": "a"}]}, "filters.0.value"),
        ({"filters": [{"column": "age", "operator": "eq", "value": 1.5}]}, "filters.0.value"),
        ({"filters": [{"column": "age", "operator": "in", "value": 1}]}, "filters.0.value"),
        ({"filters": [{"column": "event_id", "operator": "eq", "value": None}]}, "filters.0.value"),
        ({"filters": [{"column": "event_id", "operator": "eq", "value": "x"}]}, "filters.0.value"),
        ({"filters": [{"column": "upper_clothing_colors", "operator": "eq", "value": "red"}]}, "filters.0.value"),
        (
            {"filters": [{"column": "geo_position", "operator": "covered", "value": {"origin_longitude": 1}}]},
            "latitude",
        ),
        ({"filters": [{"column": "create_time", "operator": "eq", "value": "x"}]}, "filters.0.operator"),
        ({"filters": [{"column": "age", "operator": "eq"}]}, "value"),
        ({"period": [{"operator": "gte"}]}, "period.0.value"),
        ({"period": [{}, {}]}, "period"),
        ({"group_by": "0m"}, "group_by"),
        ({"group_by": "1x"}, "group_by"),
    ],
)
def test_wrong_statistics_are_refused_with_the_name_of_the_field(client: Client, body: Body, named: str) -> None:
    answer = client.ask("POST", "/events/stats", body)
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["detail"], answer.text


VALUES: dict[str, object] = {"text": "a", "uuid": NOBODY, "whole": 1, "number": 0.5}


def test_every_column_has_the_statistics_that_the_reference_document_gives_it(client: Client) -> None:
    client.saved(**FULL)
    targets = [
        {"column": column.value, "aggregator": one.value} for column, allowed in AGGREGATORS.items() for one in allowed
    ]
    for start in range(0, len(targets), 10):
        some = [{"column": "event_id", "aggregator": "count"}, *targets[start : start + 10]]
        assert len(client.counted(targets=some)["stats"]) == 1
    box = {"origin_longitude": -179.9, "origin_latitude": -45.5, "longitude_delta": 1, "latitude_delta": 1}
    for column, rule in RULES.items():
        for operator in rule.operators:
            for value in (box, [], ["red"], [1], [NOBODY], None, *VALUES.values()):
                body = {"filters": [{"column": column.value, "operator": operator, "value": value}]}
                answer = client.ask("POST", "/events/stats", body)
                assert answer.status_code in {200, 400}, (body, answer.text)
    assert client.counted({"column": "geo_position", "operator": "covered", "value": box})["stats"] == [[1]]


def test_an_event_that_nobody_has_is_not_found(client: Client) -> None:
    assert refusal(client.ask("GET", f"/events/{uuid4()}")) == (404, 23001)
    assert client.ask("HEAD", f"/events/{uuid4()}").status_code == 404


@pytest.mark.timeout(300)
def test_events_that_were_taken_are_kept_when_the_server_stops() -> None:
    with running() as service:
        client = Client(service, service.account())
        taken = [client.save(wait_saving=0).json()["event_id"] for _ in range(30)]
        service.stop()
        service.start()
        assert set(client.found(page_size=100)) == set(taken)
