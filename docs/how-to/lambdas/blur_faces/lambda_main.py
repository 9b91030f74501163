"""A handler that keeps no faces: each one is blurred, and the photo is stored with an event for everyone in it."""

import asyncio

import cv2
from google.protobuf.json_format import ParseDict
from luna.v6 import blobs_pb2, errors_pb2, events_pb2, handlers_pb2, images_pb2, sdk_pb2
from luna_lambda import Response

KEEPER = "keeps the events of blur_faces"
TAG = "blurred"
MARGIN = 0.15
CELLS = 6


class UserCtx:
    """What all calls share: the dynamic handler that events are kept under."""

    async def onStart(self, platform):
        """Find the handler, or make it."""
        dynamic = handlers_pb2.HANDLER_TYPE_DYNAMIC
        wanted = handlers_pb2.ListHandlersRequest(description=KEEPER, handler_type=dynamic)
        found = (await platform.handlers.ListHandlers(wanted)).handlers
        new = handlers_pb2.CreateHandlerRequest(description=KEEPER, handler_type=dynamic)
        self.keeper = found[0].handler_id if found else (await platform.handlers.CreateHandler(new)).handler_id


async def main(request):
    """Blur the faces of photos, and keep an event for each face.

    Takes what a handler takes. The answer has the form of a handler's. `image_origin` of an event is the blurred photo;
    of a photo without faces nothing is kept.
    """
    asked = await request.sources()
    answer = events_pb2.GenerateEventsResponse(filtered_detections=events_pb2.EventFilteredDetections())
    for source in asked.sources:
        photo = await source.image()
        faces = await faces_of(request.platform, photo)
        if faces:
            blurred = await asyncio.to_thread(blur, photo, faces)
            stored = await request.platform.images.CreateImage(blobs_pb2.CreateImageRequest(data=encoded(blurred)))
            for face in faces:
                event = raw_event(asked.data_of(source), face, stored.url)
                answer.events.append(await kept(request, event, source.filename))
        answer.images.add(
            filename=source.filename, status=True, error=errors_pb2.Error(desc="Success", detail="Success")
        )
    return Response(answer, status=201)


async def faces_of(platform, photo):
    """The faces of a photo. Unlike the detector, this stores no samples of them."""
    asked = sdk_pb2.EstimateRequest(
        images=[images_pb2.ImageInput(data=encoded(photo))],
        detect_face=True,
        estimate_face_descriptor=False,
        estimate_body_descriptor=False,
    )
    (image,) = (await platform.sdk.Estimate(asked)).images_estimations
    return [person.face.detection for person in image.estimations]


def blur(photo, faces):
    """The photo with a few soft spots of colour where each face was: nothing of it can be brought back."""
    photo = photo.copy()
    for face in faces:
        rect = face.rect
        across, along = int(rect.width * MARGIN), int(rect.height * MARGIN)
        left, top = max(rect.x - across, 0), max(rect.y - along, 0)
        place = photo[top : rect.y + rect.height + along, left : rect.x + rect.width + across]
        spots = cv2.resize(place, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        place[:] = cv2.resize(spots, place.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return photo


def encoded(photo):
    """A photo as JPEG."""
    return cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def raw_event(data, face, url):
    """What is kept: what the caller said, where the face was, and the address of the blurred photo."""
    sample = events_pb2.RawFaceSample(detection=images_pb2.FaceDetection(rect=face.rect, landmarks5=face.landmarks5))
    event = events_pb2.RawEvent(
        detections=[events_pb2.RawDetection(samples=events_pb2.RawSamples(face=sample), image_origin=url)],
        source=data.source or "",
        stream_id=data.stream_id or "",
        track_id=data.track_id or "",
        external_id=data.external_id,
        user_data=data.user_data,
        tags=[*data.tags, TAG],
        create_time=data.event_time,
        end_time=data.event_end_time,
    )
    if data.meta:
        event.meta.update(data.meta)
    if data.location:
        ParseDict(data.location, event.location)
    return event


async def kept(request, event, filename):
    """Keep an event, and tell of it as a handler does."""
    saved = await request.platform.events.SaveEvent(
        events_pb2.SaveEventRequest(handler_id=request.user_ctx.keeper, event=event)
    )
    (seen,) = event.detections
    made = events_pb2.GeneratedEvent(
        event_id=saved.event_id,
        url=saved.url,
        external_id=event.external_id,
        user_data=event.user_data,
        location=event.location,
        tags=event.tags,
        source=event.source,
        stream_id=event.stream_id,
        track_id=event.track_id,
        aggregate_estimations=events_pb2.EventAggregate(),
    )
    detection = made.detections.add(filename=filename, image_origin=seen.image_origin)
    detection.samples.face.detection.CopyFrom(seen.samples.face.detection)
    detection.detect_time.GetCurrentTime()
    if event.HasField("meta"):
        made.meta.CopyFrom(event.meta)
    return made
