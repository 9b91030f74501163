"""The recipes of lambdas, but for calls of them, which another process answers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from luna.v6 import lambdas_pb2 as lambdas
from urllib3 import encode_multipart_formdata

from tests.contract.recipes import FRESH, Made, Recipe, body_of, path_of, query_of
from tests.contract.rest import Answer, Call
from tests.contract.spoken import into
from tests.contract.valid import moment
from tests.contract.world import LAMBDA, World, settled

NEW = FRESH | {"lambda_id", "version"}
LOOKS = ("info", "base_image", "version")
"""Members of lambdas that depend on when one looks."""
PARAMETERS: Mapping[str, object] = {
    "lambda_type": "handlers",
    "additional_user_docker_commands": ["RUN true"],
    "deploy_parameters": {"pod_count": 2},
}


def sent(path: Mapping[str, str], world: World, *, named: bool = True) -> Call:
    """A body of parts: the archive, its name, and how it is built."""
    parts: dict[str, Any] = {
        "archive": ("lambda.zip", LAMBDA, "application/zip"),
        "parameters": ("parameters", json.dumps(PARAMETERS), "application/json"),
    }
    if named:
        credentials = {"lambda_name": str(uuid.uuid4()), "description": "new"}
        parts["credentials"] = ("credentials", json.dumps(credentials), "application/json")
    data, content_type = encode_multipart_formdata(parts)
    return Call(path, data=data, content_type=content_type, account=world.owner if named else None)


def _credentials(call: Call) -> lambdas.LambdaCredentials:
    found = re.search(rb'"lambda_name": "([^"]+)"', call.data)
    assert found is not None
    return lambdas.LambdaCredentials(lambda_name=found[1].decode(), description="new")


def _parameters() -> lambdas.LambdaParameters:
    return lambdas.LambdaParameters(
        lambda_type=lambdas.LAMBDA_TYPE_HANDLERS,
        additional_user_docker_commands=["RUN true"],
        deploy_parameters=lambdas.LambdaDeployParameters(pod_count=2),
    )


def _creation(world: World) -> Call:
    world.clear_lambdas()
    return sent({}, world)


def _made(world: World, _: Call, made: Made) -> Sequence[Answer]:
    return [settled(world.get(f"/6/lambdas/{made['lambda_id']}"), *LOOKS)]


def _changed(world: World, call: Call, _: Made) -> Sequence[Answer]:
    return [settled(world.get(f"/6/lambdas/{call.path['lambda_id']}"), *LOOKS)]


def _of_lambda(world: World) -> Call:
    return Call({"lambda_id": world.lambda_id}, account=world.owner)


def _to_change(world: World) -> Mapping[str, str]:
    return {"lambda_id": world.changed_lambda_id}


LAMBDAS: Mapping[str, Recipe] = {
    "create_lambda": Recipe(
        _creation,
        "Lambdas/CreateLambda",
        lambda call: lambdas.CreateLambdaRequest(
            archive=LAMBDA, credentials=_credentials(call), parameters=_parameters()
        ),
        fresh=NEW,
        effect=_made,
    ),
    "get_lambdas": Recipe(
        lambda world: Call(query=(("create_time__lt", world.lambdas_before),), account=world.owner),
        "Lambdas/ListLambdas",
        lambda call: lambdas.ListLambdasRequest(create_time_lt=moment(query_of(call, "create_time__lt"))),
    ),
    "validate_lambda": Recipe(
        lambda world: sent({}, world, named=False),
        "Lambdas/ValidateLambda",
        lambda _: lambdas.ValidateLambdaRequest(archive=LAMBDA, parameters=_parameters()),
    ),
    "put_lambda": Recipe(
        lambda world: sent(_to_change(world), world),
        "Lambdas/ReplaceLambda",
        lambda call: lambdas.ReplaceLambdaRequest(
            **path_of(call), archive=LAMBDA, credentials=_credentials(call), parameters=_parameters()
        ),
        fresh=NEW,
        effect=_changed,
    ),
    "patch_lambda": Recipe(
        lambda world: Call(
            _to_change(world), body={"lambda_name": str(uuid.uuid4()), "description": "told"}, account=world.owner
        ),
        "Lambdas/PatchLambda",
        lambda call: into(lambdas.PatchLambdaRequest(**path_of(call)), body_of(call)),
        effect=_changed,
    ),
    "get_lambda": Recipe(_of_lambda, "Lambdas/GetLambda", lambda call: lambdas.GetLambdaRequest(**path_of(call))),
    "check_lambda": Recipe(_of_lambda, "Lambdas/GetLambda", lambda call: lambdas.GetLambdaRequest(**path_of(call))),
    "delete_lambda": Recipe(
        lambda world: Call({"lambda_id": world.new_lambda()}, account=world.owner),
        "Lambdas/DeleteLambda",
        lambda call: lambdas.DeleteLambdaRequest(**path_of(call)),
        effect=lambda world, call, _: [world.get(f"/6/lambdas/{call.path['lambda_id']}")],
    ),
    "update_lambda": Recipe(
        lambda world: Call(_to_change(world), account=world.owner),
        "Lambdas/UpdateLambda",
        lambda call: lambdas.UpdateLambdaRequest(**path_of(call)),
        fresh=NEW,
    ),
    "get_lambda_image_status": Recipe(
        _of_lambda,
        "Lambdas/GetLambdaImageStatus",
        lambda call: lambdas.GetLambdaImageStatusRequest(**path_of(call)),
    ),
    "get_lambda_image_logs": Recipe(
        _of_lambda, "Lambdas/GetLambdaImageLogs", lambda call: lambdas.GetLambdaImageLogsRequest(**path_of(call))
    ),
    "get_lambda_status": Recipe(
        _of_lambda, "Lambdas/GetLambdaStatus", lambda call: lambdas.GetLambdaStatusRequest(**path_of(call))
    ),
    "get_lambda_logs": Recipe(
        _of_lambda, "Lambdas/GetLambdaLogs", lambda call: lambdas.GetLambdaLogsRequest(**path_of(call))
    ),
    "get_lambda_docs": Recipe(
        lambda world: Call({"lambda_id": world.lambda_id}, headers={"accept": "application/x-yaml"}),
        "Lambdas/GetLambdaDocs",
        lambda call: lambdas.GetLambdaDocsRequest(**path_of(call)),
    ),
}
