"""A book of visitors: people by name, each with a photo."""

from luna.v6 import attributes_pb2, faces_pb2, images_pb2, lists_pb2, samples_pb2
from luna_lambda import BadRequest, Refused, Response, Routes

BOOK = "visitors"

routes = Routes()


class UserCtx:
    """What all calls share: the list that the visitors are in."""

    async def onStart(self, platform):
        """Find the list, or make it; the lambda takes calls when this is done."""
        found = (await platform.lists.ListLists(lists_pb2.ListListsRequest(user_data_eq=BOOK))).lists
        if found:
            self.list_id = found[0].list_id
        else:
            self.list_id = (await platform.lists.CreateList(lists_pb2.CreateListRequest(user_data=BOOK))).list_id
        print("the book is list", self.list_id)

    async def onShutdown(self):
        """Say good-bye, in the log."""
        print("the book is closed")


@routes.get("people")
async def people(request):
    """Everyone in the book, the newest first."""
    page = int(request.query.get("page", "1"))
    wanted = faces_pb2.ListFacesRequest(list_id=request.user_ctx.list_id, page=page, page_size=100)
    found = await request.platform.faces.ListFaces(wanted)
    return {"people": [face.user_data for face in found.faces]}


@routes.put("people/{name}")
async def enter(request):
    """Enter somebody by name. The body is a photo of one person."""
    platform = request.platform
    photo = images_pb2.ImageInput(data=await request.body())
    (image,) = (await platform.samples.DetectFaces(samples_pb2.DetectFacesRequest(images=[photo]))).images
    if not image.status:
        raise BadRequest(image.error.detail, error_code=image.error.error_code, desc=image.error.desc)
    if len(image.detections.samples) != 1:
        raise BadRequest(f"A photo of one person is needed, and this one has {len(image.detections.samples)}")
    sample_id = image.detections.samples[0].face.sample_id
    extracted = await platform.attributes.ExtractAttributes(
        attributes_pb2.ExtractAttributesRequest(sample_ids=[sample_id])
    )
    face = faces_pb2.CreateFaceRequest(
        attribute=faces_pb2.FaceAttributeInput(attribute_id=extracted.attributes[0].attribute_id),
        user_data=request.variables["name"],
        lists=[request.user_ctx.list_id],
    )
    return Response({"face_id": (await platform.faces.CreateFace(face)).face_id}, status=201)


@routes.delete("people/{name}")
async def leave(request):
    """Take somebody out of the book."""
    name, faces = request.variables["name"], request.platform.faces
    wanted = faces_pb2.ListFacesRequest(list_id=request.user_ctx.list_id, user_data=name, page_size=1000)
    found = [face.face_id for face in (await faces.ListFaces(wanted)).faces if face.user_data == name]
    if not found:
        raise Refused(404, f"Nobody is called '{name}'", desc="Not found")
    await faces.DeleteFaces(faces_pb2.DeleteFacesRequest(face_ids=found, ignore=True))
    return Response(status=204)


async def main(request):
    """Say what there is; every path that is no route comes here."""
    return {
        "book": BOOK,
        "list_id": request.user_ctx.list_id,
        "routes": ["GET people", "PUT people/{name}", "DELETE people/{name}"],
    }
