"""Enrol one person from one photo and recognise them in another: LOGIN PASSWORD ENROLMENT PROBE."""

import base64
import sys
from pathlib import Path

import grpc
from luna.v6 import (
    attributes_pb2,
    attributes_pb2_grpc,
    faces_pb2,
    faces_pb2_grpc,
    images_pb2,
    matcher_pb2,
    matcher_pb2_grpc,
    samples_pb2,
    samples_pb2_grpc,
)

login, password, enrolment, probe = sys.argv[1:5]
basic = base64.b64encode(f"{login}:{password}".encode()).decode()
call = {"metadata": (("authorization", f"Basic {basic}"),), "timeout": 30}

with grpc.insecure_channel("127.0.0.1:50051") as channel:
    samples = samples_pb2_grpc.SamplesStub(channel)
    attributes = attributes_pb2_grpc.AttributesStub(channel)
    faces = faces_pb2_grpc.FacesStub(channel)
    matcher = matcher_pb2_grpc.MatcherStub(channel)

    def attribute_of(photo: str) -> str:
        """Detect the largest face of a photo and extract its attribute; it lives for five minutes."""
        image = images_pb2.ImageInput(data=Path(photo).read_bytes(), filename=photo)
        request = samples_pb2.DetectFacesRequest(images=[image], multiface_policy=samples_pb2.MULTIFACE_POLICY_BEST)
        detected = samples.DetectFaces(request, **call).images[0]
        if not detected.status:
            sys.exit(detected.error.detail)
        if not detected.detections.samples:
            sys.exit(f"no face in {photo}")
        sample_id = detected.detections.samples[0].face.sample_id
        extracted = attributes.ExtractAttributes(
            attributes_pb2.ExtractAttributesRequest(sample_ids=[sample_id]), **call
        )
        return extracted.attributes[0].attribute_id

    face = faces.CreateFace(
        faces_pb2.CreateFaceRequest(
            attribute=faces_pb2.FaceAttributeInput(attribute_id=attribute_of(enrolment)), user_data=enrolment
        ),
        **call,
    )
    reference = matcher_pb2.Reference(id=attribute_of(probe), type=matcher_pb2.REFERENCE_TYPE_ATTRIBUTE)
    candidates = matcher_pb2.Candidates(faces=matcher_pb2.FaceCandidates(), targets=["face_id", "similarity"])
    found = matcher.MatchFaces(matcher_pb2.MatchFacesRequest(references=[reference], candidates=[candidates]), **call)
    for match in found.matches[0].matches[0].result:
        told = "enrolled now" if match.face.face_id == face.face_id else ""
        print(f"{match.similarity:.3f}  {match.face.face_id}  {told}")
