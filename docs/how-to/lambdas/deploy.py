"""Pack a folder, make or replace the lambda of that name, and wait until it runs: LOGIN PASSWORD FOLDER [TYPE]."""

import base64
import io
import sys
import time
import zipfile
from pathlib import Path

import grpc
from luna.v6 import lambdas_pb2 as pb
from luna.v6 import lambdas_pb2_grpc

login, password, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
kind = pb.LAMBDA_TYPE_HANDLERS if sys.argv[4:] == ["handlers"] else pb.LAMBDA_TYPE_STANDALONE
basic = base64.b64encode(f"{login}:{password}".encode()).decode()
metadata = (("authorization", f"Basic {basic}"),)

packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            archive.write(file, file.relative_to(folder))
whole = {
    "archive": packed.getvalue(),
    "credentials": pb.LambdaCredentials(lambda_name=folder.name),
    "parameters": pb.LambdaParameters(lambda_type=kind),
}

with grpc.insecure_channel("127.0.0.1:50051", [("grpc.max_send_message_length", -1)]) as channel:
    lambdas = lambdas_pb2_grpc.LambdasStub(channel)
    known = lambdas.ListLambdas(pb.ListLambdasRequest(page_size=1000), metadata=metadata).lambdas
    found = [one.lambda_id for one in known if one.lambda_name == folder.name]
    if found:
        lambda_id = found[0]
        version = lambdas.ReplaceLambda(
            pb.ReplaceLambdaRequest(lambda_id=lambda_id, **whole), metadata=metadata
        ).version
        print(lambda_id, "version", version, flush=True)
    else:
        lambda_id = lambdas.CreateLambda(pb.CreateLambdaRequest(**whole), metadata=metadata).lambda_id
        print(lambda_id, "version 1", flush=True)
    while True:
        image = lambdas.GetLambdaImageStatus(pb.GetLambdaImageStatusRequest(lambda_id=lambda_id), metadata=metadata)
        state = lambdas.GetLambdaStatus(pb.GetLambdaStatusRequest(lambda_id=lambda_id), metadata=metadata)
        built = image.status == pb.LAMBDA_IMAGE_STATUS_COMPLETED
        if built and state.status == pb.LAMBDA_STATUS_RUNNING:
            print("running", flush=True)
            break
        if image.status == pb.LAMBDA_IMAGE_STATUS_ERROR:
            logs = lambdas.GetLambdaImageLogs(pb.GetLambdaImageLogsRequest(lambda_id=lambda_id), metadata=metadata)
            sys.exit("it could not be built:\n" + "\n".join(logs.logs))
        if built and state.status == pb.LAMBDA_STATUS_TERMINATED:
            logs = lambdas.GetLambdaLogs(pb.GetLambdaLogsRequest(lambda_id=lambda_id), metadata=metadata)
            sys.exit("it ended:\n" + "\n".join(logs.logs))
        time.sleep(0.5)
