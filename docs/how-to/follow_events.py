"""Follow the events of an account for ever, across restarts: LOGIN PASSWORD [CURSOR]."""

import base64
import sys
import time

import grpc
from luna.v6 import event_filters_pb2, events_pb2, events_pb2_grpc

login, password = sys.argv[1:3]
cursor = sys.argv[3] if len(sys.argv) > 3 else ""
basic = base64.b64encode(f"{login}:{password}".encode()).decode()
filters = event_filters_pb2.EventFilters(tags=["known"])

while True:
    with grpc.insecure_channel("127.0.0.1:50051") as channel:
        stub = events_pb2_grpc.SubscriptionsStub(channel)
        request = events_pb2.SubscribeRequest(cursor=cursor, filters=filters)
        try:
            for message in stub.Subscribe(request, metadata=(("authorization", f"Basic {basic}"),)):
                if message.HasField("gap"):
                    print("some events are not kept any more", message.gap.after, message.gap.until, flush=True)
                else:
                    event = message.event.event
                    print(message.cursor, event.event_id, event.source, list(event.tags), flush=True)
                # whoever keeps the cursor after the work on the event is done misses none, even if the power fails
                cursor = message.cursor
        except grpc.RpcError as error:
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}:
                raise
            time.sleep(1)
