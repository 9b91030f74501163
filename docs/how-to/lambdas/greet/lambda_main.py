"""Count the faces of a photo, and greet those who are known by name."""

from luna.v6 import attributes_pb2, images_pb2, matcher_pb2, sdk_pb2
from luna_lambda import BadRequest

SIMILAR = 0.7


async def main(request):
    """Greet everyone in a photo.

    The body is a photo. The answer tells how many faces are in it, and greets them from left to right: by the user_data
    of the most similar face that the account has, where one is similar enough.
    """
    descriptors = await descriptors_of(request.platform, await request.body())
    names = await names_of(request.platform, descriptors)
    return {"faces": len(names), "greetings": [f"Hello, {name or 'stranger'}!" for name in names]}


async def descriptors_of(platform, photo):
    """The descriptor of each face, from left to right. Nothing is stored."""
    request = sdk_pb2.EstimateRequest(
        images=[images_pb2.ImageInput(data=photo)],
        detect_face=True,
        estimate_face_descriptor=True,
        estimate_body_descriptor=False,
    )
    (image,) = (await platform.sdk.Estimate(request)).images_estimations
    if not image.status:
        raise BadRequest(image.error.detail, error_code=image.error.error_code, desc=image.error.desc)
    faces = sorted((person.face.detection for person in image.estimations), key=lambda face: face.rect.x)
    return [face.attributes.descriptor.sdk_descriptor for face in faces]


async def names_of(platform, descriptors):
    """The name of the most similar face to each descriptor; empty where none is similar enough."""
    if not descriptors:
        return []
    references = [
        matcher_pb2.Reference(
            id=str(number),
            type=matcher_pb2.REFERENCE_TYPE_SDK_DESCRIPTOR,
            data=attributes_pb2.DescriptorInput(sdk_descriptor=descriptor),
        )
        for number, descriptor in enumerate(descriptors)
    ]
    everyone = matcher_pb2.Candidates(
        faces=matcher_pb2.FaceCandidates(), limit=1, threshold=SIMILAR, targets=["user_data"]
    )
    answer = await platform.matcher.MatchFaces(
        matcher_pb2.MatchFacesRequest(references=references, candidates=[everyone])
    )
    return [found.matches[0].result[0].face.user_data if found.matches[0].result else "" for found in answer.matches]
