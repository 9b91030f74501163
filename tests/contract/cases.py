"""The recipes of all operations, by their ids in the contract; those of the core are here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.message import Message
from luna.v6 import accounts_pb2 as accounts
from luna.v6 import attributes_pb2 as attributes
from luna.v6 import blobs_pb2 as blobs
from luna.v6 import documents_pb2 as documents
from luna.v6 import faces_pb2 as faces
from luna.v6 import images_pb2 as images
from luna.v6 import iso_pb2 as iso
from luna.v6 import lists_pb2 as lists
from luna.v6 import liveness_pb2 as liveness
from luna.v6 import matcher_pb2 as matcher
from luna.v6 import platform_pb2 as platform
from luna.v6 import samples_pb2 as samples
from luna.v6 import sdk_pb2 as sdk
from luna.v6 import tokens_pb2 as tokens

from tests.contract.lambda_cases import LAMBDAS
from tests.contract.recipes import FRESH, Made, Recipe, body_of, new, path_of, query_of
from tests.contract.rest import Answer, Call
from tests.contract.spoken import into
from tests.contract.task_cases import TASKS
from tests.contract.valid import (
    account_body,
    bodies_body,
    content,
    face_body,
    face_request,
    match_body,
    match_request,
    moment,
    raw_body,
    references,
    token_fields,
)
from tests.contract.workflow_cases import EVENTS, HANDLERS, VERIFIERS
from tests.contract.world import PDF, World, token_body

ESTIMATED = (
    *("detect_face", "estimate_head_pose", "estimate_landmarks5", "estimate_quality", "estimate_face_warp"),
    "aggregate_attributes",
)
"""What is asked of the sdk resource: all that the default pack serves. The descriptor is asked for by default."""


def _sample_type(call: Call) -> samples.SampleType.ValueType:
    word = call.path.get("samples_type", "faces")
    return samples.SAMPLE_TYPE_BODIES if word == "bodies" else samples.SAMPLE_TYPE_FACES


def _face(world: World, face_id: str) -> list[Answer]:
    paths = ("", "/attributes", "/attributes/samples")
    return [world.get(f"/6/faces/{face_id}{path}") for path in paths]


def _list_faces_effect(world: World, call: Call, _: Made) -> Sequence[Answer]:
    return [world.get(f"/6/faces/{face_id}") for face_id in body_of(call)["face_ids"]]


def _sample_recipes() -> dict[str, Recipe]:
    """The three addresses of samples; two of them are deprecated."""
    found = {}
    for suffix, typed in (("", True), ("_previous_version", False), ("_legacy", False)):

        def path(world: World, typed: bool = typed) -> Mapping[str, str]:
            return {**({"samples_type": "faces"} if typed else {}), "sample_id": world.new_sample()}

        def read(world: World, typed: bool = typed) -> Call:
            kind = {"samples_type": "faces"} if typed else {}
            return Call({**kind, "sample_id": world.sample_id}, account=world.owner)

        def get(call: Call) -> Message:
            return samples.GetSampleRequest(samples_type=_sample_type(call), sample_id=call.path["sample_id"])

        def delete(call: Call) -> Message:
            return samples.DeleteSampleRequest(samples_type=_sample_type(call), sample_id=call.path["sample_id"])

        def gone(world: World, call: Call, _: Made) -> Sequence[Answer]:
            return [world.get(f"/6/samples/faces/{call.path['sample_id']}")]

        found[f"get_sample{suffix}"] = Recipe(read, "Samples/GetSample", get)
        found[f"head_sample{suffix}"] = Recipe(read, "Samples/GetSample", get)
        found[f"delete_sample{suffix}"] = Recipe(
            lambda world, path=path: Call(path(world), account=world.owner),  # type: ignore[misc]
            "Samples/DeleteSample",
            delete,
            effect=gone,
        )
    return found


RECIPES: Mapping[str, Recipe] = {
    "get_version": Recipe(lambda _: Call(), "Platform/GetVersion", lambda _: platform.GetVersionRequest()),
    "get_health": Recipe(
        lambda _: Call(), "Platform/CheckHealth", lambda _: platform.CheckHealthRequest(), fresh=FRESH
    ),
    "get_health_redirect": Recipe(
        lambda _: Call(query=(("include_luna_services", "1"),)),
        "Platform/CheckHealth",
        lambda _: platform.CheckHealthRequest(include_luna_services=True),
    ),
    "create_account": Recipe(
        lambda world: Call(body=account_body(world)),
        "Accounts/CreateAccount",
        lambda call: accounts.CreateAccountRequest(
            **{**body_of(call), "account_type": accounts.ACCOUNT_TYPE_ADVANCED_USER}
        ),
        fresh=FRESH,
    ),
    "get_account": Recipe(
        lambda world: Call(account=world.owner), "Accounts/GetAccount", lambda _: accounts.GetAccountRequest()
    ),
    "patch_account": Recipe(
        lambda world: Call(body={"description": "changed"}, account=world.new_account()),
        "Accounts/UpdateAccount",
        lambda call: accounts.UpdateAccountRequest(**body_of(call)),
    ),
    "create_token": Recipe(
        lambda world: Call(body=token_body(), account=world.owner),
        "Tokens/CreateToken",
        lambda call: tokens.CreateTokenRequest(**token_fields(body_of(call))),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/tokens/{made['token_id']}")],
    ),
    "get_tokens": Recipe(
        lambda world: Call(query=(("create_time__lt", world.tokens_before),), account=world.owner),
        "Tokens/ListTokens",
        lambda call: tokens.ListTokensRequest(create_time_lt=moment(query_of(call, "create_time__lt"))),
    ),
    "replace_token": Recipe(
        lambda world: Call(
            {"token_id": world.new_token()},
            body={**token_body(), "description": "changed", "expiration_time": None},
            account=world.owner,
        ),
        "Tokens/ReplaceToken",
        lambda call: tokens.ReplaceTokenRequest(**path_of(call), **token_fields(body_of(call))),
        fresh=FRESH,
        effect=lambda world, call, _: [world.get(f"/6/tokens/{call.path['token_id']}")],
    ),
    "get_token": Recipe(
        lambda world: Call({"token_id": world.token_id}, account=world.owner),
        "Tokens/GetToken",
        lambda call: tokens.GetTokenRequest(**path_of(call)),
    ),
    "delete_token": Recipe(
        new("token_id", lambda world: world.new_token()),
        "Tokens/DeleteToken",
        lambda call: tokens.DeleteTokenRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/tokens/{call.path['token_id']}")],
    ),
    "verify_credentials": Recipe(
        lambda world: Call(body={"login": world.owner.login, "password": world.owner.password}),
        "Credentials/VerifyCredentials",
        lambda call: tokens.VerifyCredentialsRequest(**body_of(call)),
    ),
    "create_image": Recipe(
        lambda world: Call(
            data=world.jpeg,
            content_type="image/jpeg",
            headers={"x-luna-meta-camera": "north"},
            account=world.owner,
        ),
        "Images/CreateImage",
        lambda call: blobs.CreateImageRequest(data=call.data, meta={"camera": "north"}),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/images/{made['image_id']}")],
    ),
    "get_image": Recipe(
        lambda world: Call({"image_id": world.image_id}, account=world.owner),
        "Images/GetImage",
        lambda call: blobs.GetImageRequest(**path_of(call)),
    ),
    "head_image": Recipe(
        lambda world: Call({"image_id": world.image_id}, account=world.owner),
        "Images/GetImage",
        lambda call: blobs.GetImageRequest(**path_of(call)),
    ),
    "delete_image": Recipe(
        new("image_id", lambda world: world.new_image()),
        "Images/DeleteImage",
        lambda call: blobs.DeleteImageRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/images/{call.path['image_id']}")],
    ),
    "create_object": Recipe(
        lambda world: Call(data=PDF, content_type="application/pdf", account=world.owner),
        "Objects/CreateObject",
        lambda call: blobs.CreateObjectRequest(data=call.data, content_type=call.content_type),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/objects/{made['object_id']}")],
    ),
    "get_object": Recipe(
        lambda world: Call({"object_id": world.object_id}, account=world.owner),
        "Objects/GetObject",
        lambda call: blobs.GetObjectRequest(**path_of(call)),
    ),
    "head_object": Recipe(
        lambda world: Call({"object_id": world.object_id}, account=world.owner),
        "Objects/GetObject",
        lambda call: blobs.GetObjectRequest(**path_of(call)),
    ),
    "delete_object": Recipe(
        new("object_id", lambda world: world.new_object()),
        "Objects/DeleteObject",
        lambda call: blobs.DeleteObjectRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/objects/{call.path['object_id']}")],
    ),
    "get_openapi": Recipe(
        lambda _: Call(headers={"accept": "application/x-yaml"}),
        "Documents/GetSpecification",
        lambda _: documents.GetSpecificationRequest(),
    ),
    "get_development_manual": Recipe(lambda _: Call(), "Documents/GetManual", lambda _: documents.GetManualRequest()),
    "get_config": Recipe(
        lambda _: Call(), "Platform/GetConfig", lambda _: platform.GetConfigRequest(), part="settings"
    ),
    "get_features": Recipe(lambda _: Call(), "Platform/GetFeatures", lambda _: platform.GetFeaturesRequest()),
    "sdk_resource": Recipe(
        lambda world: Call(
            query=tuple((name, "1") for name in ESTIMATED),
            data=world.jpeg,
            content_type="image/jpeg",
            account=world.owner,
        ),
        "Sdk/Estimate",
        lambda call: sdk.EstimateRequest(images=[images.ImageInput(data=call.data)], **dict.fromkeys(ESTIMATED, True)),
    ),
    "check_iso": Recipe(
        lambda world: Call(data=world.jpeg, content_type="image/jpeg", account=world.owner),
        "Iso/CheckImages",
        lambda call: iso.CheckImagesRequest(images=[images.ImageInput(data=call.data)]),
    ),
    "predict_liveness": Recipe(
        lambda world: Call(data=world.jpeg, content_type="image/jpeg", account=world.owner),
        "Liveness/PredictLiveness",
        lambda call: liveness.PredictLivenessRequest(images=[images.ImageInput(data=call.data)]),
    ),
    "detect_faces": Recipe(
        lambda world: Call(data=world.jpeg, content_type="image/jpeg", account=world.owner),
        "Samples/DetectFaces",
        lambda call: samples.DetectFacesRequest(images=[images.ImageInput(data=call.data)]),
        fresh=FRESH,
    ),
    "save_sample": Recipe(
        lambda world: Call(
            {"samples_type": "faces"}, data=world.sample, content_type="image/jpeg", account=world.owner
        ),
        "Samples/CreateSample",
        lambda call: samples.CreateSampleRequest(samples_type=_sample_type(call), data=call.data),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/samples/faces/{made['sample_id']}")],
    ),
    **_sample_recipes(),
    "extract_attributes": Recipe(
        lambda world: Call(body=[world.sample_id], account=world.owner),
        "Attributes/ExtractAttributes",
        lambda call: attributes.ExtractAttributesRequest(sample_ids=body_of(call)),
        part="attributes",
        fresh=FRESH,
    ),
    "create_attribute": Recipe(
        lambda world: Call(body=world.attribute_body(), account=world.owner),
        "Attributes/CreateAttribute",
        lambda call: attributes.CreateAttributeRequest(**content(body_of(call))),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/attributes/{made['attribute_id']}")],
    ),
    "get_attributes": Recipe(
        lambda world: Call(query=(("attribute_ids", world.attribute_id),), account=world.owner),
        "Attributes/ListAttributes",
        lambda call: attributes.ListAttributesRequest(attribute_ids=[query_of(call, "attribute_ids")]),
    ),
    "get_attribute": Recipe(
        lambda world: Call({"attribute_id": world.attribute_id}, account=world.owner),
        "Attributes/GetAttribute",
        lambda call: attributes.GetAttributeRequest(**path_of(call)),
    ),
    "head_attribute": Recipe(
        lambda world: Call({"attribute_id": world.attribute_id}, account=world.owner),
        "Attributes/GetAttribute",
        lambda call: attributes.GetAttributeRequest(**path_of(call)),
    ),
    "delete_attribute": Recipe(
        new("attribute_id", lambda world: world.new_attribute()),
        "Attributes/DeleteAttribute",
        lambda call: attributes.DeleteAttributeRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/attributes/{call.path['attribute_id']}")],
    ),
    "get_attribute_samples": Recipe(
        lambda world: Call({"attribute_id": world.attribute_id}, account=world.owner),
        "Attributes/GetAttributeSamples",
        lambda call: attributes.GetAttributeSamplesRequest(**path_of(call)),
    ),
    "create_face": Recipe(
        lambda world: Call(body=face_body(world), account=world.owner),
        "Faces/CreateFace",
        lambda call: face_request(body_of(call)),
        fresh=FRESH,
        effect=lambda world, _, made: _face(world, made["face_id"]),
    ),
    "get_faces": Recipe(
        lambda world: Call(query=(("face_ids", f"{world.face_id},{world.lonely_id}"),), account=world.owner),
        "Faces/ListFaces",
        lambda call: faces.ListFacesRequest(face_ids=query_of(call, "face_ids").split(",")),
    ),
    "delete_faces": Recipe(
        lambda world: Call(body={"face_ids": [world.new_face(), world.new_face(None)]}, account=world.owner),
        "Faces/DeleteFaces",
        lambda call: faces.DeleteFacesRequest(**body_of(call)),
        effect=_list_faces_effect,
    ),
    "count_faces": Recipe(
        lambda world: Call(query=(("face_ids", f"{world.face_id},{world.lonely_id}"),), account=world.owner),
        "Faces/CountFaces",
        lambda call: faces.CountFacesRequest(face_ids=query_of(call, "face_ids").split(",")),
    ),
    "count_faces_with_attributes": Recipe(
        lambda world: Call(account=world.owner),
        "Faces/CountFacesWithAttributes",
        lambda _: faces.CountFacesWithAttributesRequest(),
    ),
    "get_face": Recipe(
        lambda world: Call({"face_id": world.face_id}, account=world.owner),
        "Faces/GetFace",
        lambda call: faces.GetFaceRequest(**path_of(call)),
    ),
    "head_face": Recipe(
        lambda world: Call({"face_id": world.face_id}, account=world.owner),
        "Faces/GetFace",
        lambda call: faces.GetFaceRequest(**path_of(call)),
    ),
    "patch_face": Recipe(
        lambda world: Call(
            {"face_id": world.new_face()},
            body={"external_id": "2", "event_id": None, "user_data": "changed", "avatar": "b.jpg"},
            account=world.owner,
        ),
        "Faces/UpdateFace",
        lambda call: faces.UpdateFaceRequest(**path_of(call), **{**body_of(call), "event_id": ""}),
        effect=lambda world, call, _: _face(world, call.path["face_id"]),
    ),
    "delete_face": Recipe(
        new("face_id", lambda world: world.new_face()),
        "Faces/DeleteFace",
        lambda call: faces.DeleteFaceRequest(**path_of(call)),
        effect=lambda world, call, _: _face(world, call.path["face_id"]),
    ),
    "put_face_attribute": Recipe(
        lambda world: Call({"face_id": world.new_face(None)}, body=world.attribute_body(), account=world.owner),
        "Faces/SetFaceAttribute",
        lambda call: faces.SetFaceAttributeRequest(
            **path_of(call), attribute=faces.FaceAttributeInput(**content(body_of(call)))
        ),
        effect=lambda world, call, _: _face(world, call.path["face_id"]),
    ),
    "get_face_attribute": Recipe(
        lambda world: Call({"face_id": world.face_id}, account=world.owner),
        "Faces/GetFaceAttribute",
        lambda call: faces.GetFaceAttributeRequest(**path_of(call)),
    ),
    "delete_face_attribute": Recipe(
        new("face_id", lambda world: world.new_face()),
        "Faces/DeleteFaceAttribute",
        lambda call: faces.DeleteFaceAttributeRequest(**path_of(call)),
        effect=lambda world, call, _: _face(world, call.path["face_id"]),
    ),
    "get_face_attribute_samples": Recipe(
        lambda world: Call({"face_id": world.face_id}, account=world.owner),
        "Faces/GetFaceAttributeSamples",
        lambda call: faces.GetFaceAttributeSamplesRequest(**path_of(call)),
    ),
    "create_list": Recipe(
        lambda world: Call(body={"user_data": "new"}, account=world.owner),
        "Lists/CreateList",
        lambda call: lists.CreateListRequest(**body_of(call)),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/lists/{made['list_id']}")],
    ),
    "get_lists": Recipe(
        lambda world: Call(query=(("list_ids", world.list_id),), account=world.owner),
        "Lists/ListLists",
        lambda call: lists.ListListsRequest(list_ids=[query_of(call, "list_ids")]),
    ),
    "delete_lists": Recipe(
        lambda world: Call(body={"list_ids": [world.new_list(), world.new_list()]}, account=world.owner),
        "Lists/DeleteLists",
        lambda call: lists.DeleteListsRequest(**body_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/lists/{one}") for one in body_of(call)["list_ids"]],
    ),
    "count_lists": Recipe(
        lambda world: Call(query=(("list_ids", world.list_id),), account=world.owner),
        "Lists/CountLists",
        lambda call: lists.CountListsRequest(list_ids=[query_of(call, "list_ids")]),
    ),
    "get_list": Recipe(
        lambda world: Call({"list_id": world.list_id}, account=world.owner),
        "Lists/GetList",
        lambda call: lists.GetListRequest(**path_of(call)),
    ),
    "head_list": Recipe(
        lambda world: Call({"list_id": world.list_id}, account=world.owner),
        "Lists/GetList",
        lambda call: lists.GetListRequest(**path_of(call)),
    ),
    "update_list": Recipe(
        lambda world: Call({"list_id": world.new_list()}, body={"user_data": "changed"}, account=world.owner),
        "Lists/UpdateList",
        lambda call: lists.UpdateListRequest(**path_of(call), **body_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/lists/{call.path['list_id']}")],
    ),
    "delete_list": Recipe(
        new("list_id", lambda world: world.new_list()),
        "Lists/DeleteList",
        lambda call: lists.DeleteListRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/lists/{call.path['list_id']}")],
    ),
    "attach_detach_faces": Recipe(
        lambda world: Call(
            {"list_id": world.new_list()},
            body={"action": "attach", "face_ids": [world.new_face(None)]},
            account=world.owner,
        ),
        "Lists/UpdateListFaces",
        lambda call: lists.UpdateListFacesRequest(
            **path_of(call), action=lists.LIST_ACTION_ATTACH, face_ids=body_of(call)["face_ids"]
        ),
        effect=_list_faces_effect,
    ),
    "match_faces": Recipe(
        lambda world: Call(body=match_body(world), account=world.owner),
        "Matcher/MatchFaces",
        lambda call: match_request(body_of(call)),
        part="matches",
    ),
    "match_bodies": Recipe(
        lambda world: Call(body=bodies_body(world), account=world.owner),
        "Matcher/MatchBodies",
        lambda call: matcher.MatchBodiesRequest(
            references=references(body_of(call)["references"]),
            candidates=[into(matcher.BodyCandidates(), one) for one in body_of(call)["candidates"]],
        ),
        part="matches",
    ),
    "match_raw": Recipe(
        lambda world: Call(body=raw_body(world), account=world.owner),
        "Matcher/MatchRaw",
        lambda call: matcher.MatchRawRequest(
            references=references(body_of(call)["references"]), candidates=references(body_of(call)["candidates"])
        ),
    ),
    **HANDLERS,
    **EVENTS,
    **VERIFIERS,
    **TASKS,
    **LAMBDAS,
}
"""A recipe for every operation, by its id in the contract."""
