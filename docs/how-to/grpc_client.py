"""A gRPC client of one's own, with what a backend needs: deadlines, errors by reason, and patience with a busy server.

LOGIN PASSWORD FOLDER PROBE enrols every photo of a folder, tells who is on another one, and waits for its event.
"""

import base64
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from luna.v6 import attributes_pb2 as attributes
from luna.v6 import (
    attributes_pb2_grpc,
    events_pb2_grpc,
    faces_pb2_grpc,
    handlers_pb2_grpc,
    matcher_pb2_grpc,
    samples_pb2_grpc,
)
from luna.v6 import event_filters_pb2 as event_filters
from luna.v6 import events_pb2 as events
from luna.v6 import faces_pb2 as faces
from luna.v6 import handlers_pb2 as handlers
from luna.v6 import images_pb2 as images
from luna.v6 import matcher_pb2 as matcher
from luna.v6 import policies_pb2 as policies
from luna.v6 import samples_pb2 as samples

login, password, folder, probe = sys.argv[1:5]
basic = base64.b64encode(f"{login}:{password}".encode()).decode()
metadata = (("authorization", f"Basic {basic}"),)  # or "Bearer TOKEN"


def details(error: grpc.RpcError) -> tuple[str, float | None, list[str]]:
    """What an error carries: its reason, seconds until a new try may help, and which fields are wrong."""
    status = rpc_status.from_call(error)
    reason, wait, wrong = error.code().name, None, []
    for detail in status.details if status else ():
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(retry):
            wait = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(bad):
            wrong = [f"{one.field}: {one.description}" for one in bad.field_violations]
    return reason, wait, wrong


def call(method: Callable, request, seconds: float = 30.0):
    """Call a method until a deadline; a busy server is asked again when it says."""
    end = time.monotonic() + seconds
    while True:
        try:
            return method(request, metadata=metadata, timeout=end - time.monotonic())
        except grpc.RpcError as error:
            reason, wait, wrong = details(error)
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or wait is None:
                sys.exit(f"{reason}: {error.details()} {'; '.join(wrong)}")
            if time.monotonic() + wait >= end:
                sys.exit(f"{reason}: too busy for {seconds:g} s")
            time.sleep(wait)


def attribute_of(photo: Path) -> str:
    """Detect the largest face of a photo and describe it; the attribute lives for five minutes."""
    image = images.ImageInput(data=photo.read_bytes(), filename=photo.name)
    request = samples.DetectFacesRequest(images=[image], multiface_policy=samples.MULTIFACE_POLICY_BEST)
    # an image that cannot be used fails alone: the call is OK, and the error is in its place
    (looked,) = call(samples_pb2_grpc.SamplesStub(channel).DetectFaces, request).images
    if not looked.status or not looked.detections.samples:
        sys.exit(f"{photo}: {looked.error.detail if not looked.status else 'no face'}")
    chosen = attributes.ExtractAttributesRequest(sample_ids=[looked.detections.samples[0].face.sample_id])
    made = call(attributes_pb2_grpc.AttributesStub(channel).ExtractAttributes, chosen)
    return made.attributes[0].attribute_id


def follow(source: str, began: threading.Event) -> None:
    """Print the first event of a source. A stream needs no deadline; whoever keeps the cursor misses no event."""
    request = events.SubscribeRequest(filters=event_filters.EventFilters(sources=[source]))
    stream = events_pb2_grpc.SubscriptionsStub(channel).Subscribe(request, metadata=metadata)
    stream.initial_metadata()  # comes when the server has begun to listen
    began.set()
    for told in stream:
        if told.HasField("event"):
            print("event", told.event.event.event_id, list(told.event.event.tags))
            stream.cancel()
            return


with grpc.insecure_channel("127.0.0.1:50051") as channel:  # by TLS: docs/how-to/tls.md
    stub = faces_pb2_grpc.FacesStub(channel)
    for photo in sorted(path for path in Path(folder).iterdir() if path.is_file()):
        person = faces.CreateFaceRequest(
            attribute=faces.FaceAttributeInput(attribute_id=attribute_of(photo)), user_data=photo.stem
        )
        print("enrolled", photo.stem, call(stub.CreateFace, person).face_id)

    reference = matcher.Reference(id=attribute_of(Path(probe)), type=matcher.REFERENCE_TYPE_ATTRIBUTE)
    candidates = matcher.Candidates(faces=matcher.FaceCandidates(), targets=["user_data", "similarity"], limit=3)
    request = matcher.MatchFacesRequest(references=[reference], candidates=[candidates])
    for match in call(matcher_pb2_grpc.MatcherStub(channel).MatchFaces, request).matches[0].matches[0].result:
        print(f"found {match.face.user_data} {match.similarity:.3f}")

    source, began = f"door-{time.time_ns()}", threading.Event()
    follower = threading.Thread(target=follow, args=(source, began))
    follower.start()
    began.wait(10)
    door = handlers.CreateHandlerRequest(description="door", policies=policies.Policies())
    handler_id = call(handlers_pb2_grpc.HandlersStub(channel).CreateHandler, door).handler_id
    photo = images.Source(data=Path(probe).read_bytes(), filename=Path(probe).name)
    generate = events.GenerateEventsRequest(handler_id=handler_id, sources=[photo], source=source, tags=["visitor"])
    call(events_pb2_grpc.EventsStub(channel).GenerateEvents, generate)
    follower.join(30)
