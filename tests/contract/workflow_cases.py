"""The recipes of handlers, events and verifiers."""

from __future__ import annotations

from collections.abc import Mapping

from luna.v6 import handlers_pb2 as handlers
from luna.v6 import images_pb2 as images
from luna.v6 import verifiers_pb2 as verifiers

from tests.contract.policies import handler_policies, verifier_policies
from tests.contract.recipes import FRESH, Recipe, body_of, new, path_of, query_of
from tests.contract.rest import Call
from tests.contract.spoken import into
from tests.contract.valid import raw_body, references
from tests.contract.world import ONE, World


def _handler_body(world: World) -> Mapping[str, object]:
    return {"description": "new", "policies": handler_policies(world), "handler_type": 0, "is_dynamic": False}


def _verifier_body() -> Mapping[str, object]:
    return {"description": "new", "policies": verifier_policies()}


HANDLERS: Mapping[str, Recipe] = {
    "create_handler": Recipe(
        lambda world: Call(body=_handler_body(world), account=world.owner),
        "Handlers/CreateHandler",
        lambda call: into(handlers.CreateHandlerRequest(), body_of(call)),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/handlers/{made['handler_id']}")],
    ),
    "get_handlers": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Handlers/ListHandlers",
        lambda call: handlers.ListHandlersRequest(description=query_of(call, "description")),
        part="handlers",
    ),
    "get_handler_count": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Handlers/CountHandlers",
        lambda call: handlers.CountHandlersRequest(description=query_of(call, "description")),
    ),
    "validate_handler_policies": Recipe(
        lambda world: Call(body={"policies": handler_policies(world)}, account=world.owner),
        "Handlers/ValidatePolicies",
        lambda call: into(handlers.ValidatePoliciesRequest(), body_of(call)),
    ),
    "get_handler": Recipe(
        lambda world: Call({"handler_id": world.handler_id}, account=world.owner),
        "Handlers/GetHandler",
        lambda call: handlers.GetHandlerRequest(**path_of(call)),
    ),
    "check_handler": Recipe(
        lambda world: Call({"handler_id": world.handler_id}, account=world.owner),
        "Handlers/GetHandler",
        lambda call: handlers.GetHandlerRequest(**path_of(call)),
    ),
    "replace_handler": Recipe(
        lambda world: Call({"handler_id": world.new_handler()}, body=_handler_body(world), account=world.owner),
        "Handlers/ReplaceHandler",
        lambda call: into(handlers.ReplaceHandlerRequest(**path_of(call)), body_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/handlers/{call.path['handler_id']}")],
    ),
    "remove_handler": Recipe(
        new("handler_id", lambda world: world.new_handler()),
        "Handlers/DeleteHandler",
        lambda call: handlers.DeleteHandlerRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/handlers/{call.path['handler_id']}")],
    ),
}
VERIFIERS: Mapping[str, Recipe] = {
    "create_verifier": Recipe(
        lambda world: Call(body=_verifier_body(), account=world.owner),
        "Verifiers/CreateVerifier",
        lambda call: into(verifiers.CreateVerifierRequest(), body_of(call)),
        fresh=FRESH,
        effect=lambda world, _, made: [world.get(f"/6/verifiers/{made['verifier_id']}")],
    ),
    "get_verifiers": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Verifiers/ListVerifiers",
        lambda call: verifiers.ListVerifiersRequest(description=query_of(call, "description")),
        part="verifiers",
    ),
    "count_verifiers": Recipe(
        lambda world: Call(query=(("description", ONE),), account=world.owner),
        "Verifiers/CountVerifiers",
        lambda call: verifiers.CountVerifiersRequest(description=query_of(call, "description")),
    ),
    "raw_verification": Recipe(
        lambda world: Call({"verifier_id": world.verifier_id}, body=raw_body(world), account=world.owner),
        "Verifiers/VerifyRaw",
        lambda call: verifiers.VerifyRawRequest(
            **path_of(call),
            references=references(body_of(call)["references"]),
            candidates=references(body_of(call)["candidates"]),
        ),
    ),
    "perform_verification": Recipe(
        lambda world: Call(
            {"verifier_id": world.verifier_id},
            query=(("face_ids", world.face_id),),
            data=world.jpeg,
            content_type="image/jpeg",
            account=world.owner,
        ),
        "Verifiers/PerformVerification",
        lambda call: verifiers.PerformVerificationRequest(
            **path_of(call),
            sources=[images.Source(data=call.data)],
            face_ids=query_of(call, "face_ids").split(","),
        ),
        fresh=FRESH,
    ),
    "get_verifier": Recipe(
        lambda world: Call({"verifier_id": world.verifier_id}, account=world.owner),
        "Verifiers/GetVerifier",
        lambda call: verifiers.GetVerifierRequest(**path_of(call)),
    ),
    "check_verifier": Recipe(
        lambda world: Call({"verifier_id": world.verifier_id}, account=world.owner),
        "Verifiers/GetVerifier",
        lambda call: verifiers.GetVerifierRequest(**path_of(call)),
    ),
    "replace_verifier": Recipe(
        lambda world: Call({"verifier_id": world.new_verifier()}, body=_verifier_body(), account=world.owner),
        "Verifiers/ReplaceVerifier",
        lambda call: into(verifiers.ReplaceVerifierRequest(**path_of(call)), body_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/verifiers/{call.path['verifier_id']}")],
    ),
    "remove_verifier": Recipe(
        new("verifier_id", lambda world: world.new_verifier()),
        "Verifiers/DeleteVerifier",
        lambda call: verifiers.DeleteVerifierRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/verifiers/{call.path['verifier_id']}")],
    ),
}
