"""Lambdas as messages, and what callers want of them as values."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct
from luna.v6 import lambdas_pb2 as pb

from server.domain.lambda_registry import LambdaWish
from server.domain.lambdas import ImageStatus, Lambda, LambdaChange, LambdaFilter, LambdaState, LambdaStatus, LambdaType
from server.services.messages import moment, timestamp

TYPES = {pb.LAMBDA_TYPE_STANDALONE: LambdaType.STANDALONE, pb.LAMBDA_TYPE_HANDLERS: LambdaType.HANDLERS}
STATUSES = {
    LambdaStatus.WAITING: pb.LAMBDA_STATUS_WAITING,
    LambdaStatus.RUNNING: pb.LAMBDA_STATUS_RUNNING,
    LambdaStatus.TERMINATED: pb.LAMBDA_STATUS_TERMINATED,
    LambdaStatus.NOT_FOUND: pb.LAMBDA_STATUS_NOT_FOUND,
}
IMAGE_STATUSES = {
    ImageStatus.IN_PROGRESS: pb.LAMBDA_IMAGE_STATUS_IN_PROGRESS,
    ImageStatus.COMPLETED: pb.LAMBDA_IMAGE_STATUS_COMPLETED,
    ImageStatus.ERROR: pb.LAMBDA_IMAGE_STATUS_ERROR,
    ImageStatus.NOT_FOUND: pb.LAMBDA_IMAGE_STATUS_NOT_FOUND,
}
ORIGIN = "luna"
"""What every lambda is built upon; its version is reported."""

_TYPE_OF = {value: key for key, value in TYPES.items()}


def wish_from(request: pb.CreateLambdaRequest | pb.ReplaceLambdaRequest) -> LambdaWish:
    """What a caller wants a lambda to be."""
    parameters = request.parameters
    return LambdaWish(
        name=request.credentials.lambda_name,
        archive=request.archive,
        description=request.credentials.description,
        lambda_type=TYPES[parameters.lambda_type],
        commands=tuple(parameters.additional_user_docker_commands),
        pods=parameters.deploy_parameters.pod_count,
    )


def change_from(request: pb.PatchLambdaRequest) -> LambdaChange:
    """New texts of a lambda."""
    return LambdaChange(
        name=request.lambda_name if request.HasField("lambda_name") else None,
        description=request.description if request.HasField("description") else None,
    )


def where_from(request: pb.ListLambdasRequest) -> LambdaFilter:
    """Which lambdas are wanted."""
    return LambdaFilter(
        lambda_type=TYPES.get(request.lambda_type),
        create_time_gte=moment(request.create_time_gte) if request.HasField("create_time_gte") else None,
        create_time_lt=moment(request.create_time_lt) if request.HasField("create_time_lt") else None,
    )


def lambda_message(value: Lambda, state: LambdaState | None) -> pb.Lambda:
    """A lambda, with what is known of it; None is nothing."""
    info = Struct()
    if state is not None:
        info.update({"version": str(state.version), **state.info})
    return pb.Lambda(
        account_id=str(value.account_id),
        lambda_id=str(value.lambda_id),
        lambda_name=value.name,
        description=value.description,
        version=value.version,
        info=info,
        lambda_type=_TYPE_OF[value.lambda_type],
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
        additional_user_docker_commands=value.commands,
        base_image=pb.LambdaBaseImage(origin=ORIGIN, tag="" if state is None else state.base),
    )
