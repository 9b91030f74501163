"""A large list through the whole service: how fast faces are created, and how fast they are searched.

    python -m tests.bench.search_100k --faces 100000

Starts a service of its own in a temporary folder. Descriptors are random directions around 128-d cluster centres: the
time of an exact scan does not depend on them. Bounded: every loop counts to a number.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import requests
from luna.v6 import attributes_pb2, faces_pb2, faces_pb2_grpc, lists_pb2, lists_pb2_grpc, matcher_pb2, matcher_pb2_grpc
from rich.console import Console
from rich.table import Table

from tests.service import Account, Service, running

VERSION = 1001
DIMENSIONS = 128
SEARCHES = 200


def descriptors(count: int) -> list[bytes]:
    """Unit vectors in clusters of ten, float16."""
    generator = np.random.default_rng(1)
    centres = np.repeat(generator.standard_normal((count // 10 + 1, DIMENSIONS)), 10, axis=0)[:count]
    vectors = centres + 0.6 * generator.standard_normal((count, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [row.tobytes() for row in vectors.astype("<f2")]


def create(service: Service, account: Account, vectors: list[bytes], list_id: str) -> float:
    """Create a face of each vector, every tenth in the list; seconds."""
    with service.channel() as channel:
        stub = faces_pb2_grpc.FacesStub(channel)

        def one(item: tuple[int, bytes]) -> None:
            number, vector = item
            attribute = faces_pb2.FaceAttributeInput(
                face_descriptors=[attributes_pb2.DescriptorInput(descriptor=vector, version=VERSION)]
            )
            request = faces_pb2.CreateFaceRequest(
                attribute=attribute, external_id=str(number), lists=[list_id] if number % 10 == 0 else []
            )
            stub.CreateFace(request, metadata=account.metadata, timeout=60)

        began = time.perf_counter()
        with ThreadPoolExecutor(32) as pool:
            for _ in pool.map(one, enumerate(vectors)):
                pass
        return time.perf_counter() - began


def timed(call: Callable[[int], object], times: int) -> tuple[float, float]:
    """Median and 99th percentile of some calls, in ms."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    faces = parser.parse_args().faces
    console = Console()
    with running() as service:
        account = service.account()
        vectors = descriptors(faces)
        with service.channel() as channel:
            lists = lists_pb2_grpc.ListsStub(channel)
            list_id = lists.CreateList(lists_pb2.CreateListRequest(), metadata=account.metadata).list_id
        seconds = create(service, account, vectors, list_id)
        console.print(f"{faces} faces created in {seconds:.0f} s: {faces / seconds:.0f} a second, 32 calls in flight")
        table = Table("search of the best 10", "median ms", "p99 ms", title=f"{faces} faces, one client")
        with service.channel() as channel:
            for name, row in (
                ("gRPC, all faces", grpc_search(channel, account, vectors, "")),
                ("gRPC, list of a tenth", grpc_search(channel, account, vectors, list_id)),
                ("REST, all faces", rest_search(service, account, vectors)),
            ):
                table.add_row(name, *(f"{value:.1f}" for value in row))
        console.print(table)
        service.stop()
        began = time.perf_counter()
        service.start()
        console.print(f"started again, index loaded, in {time.perf_counter() - began:.1f} s")


def grpc_search(channel: grpc.Channel, account: Account, vectors: list[bytes], list_id: str) -> tuple[float, float]:
    """Searches through gRPC; each must find the vector itself."""
    stub = matcher_pb2_grpc.MatcherStub(channel)

    def search(number: int) -> None:
        place = number * 10 % len(vectors)
        data = attributes_pb2.DescriptorInput(descriptor=vectors[place], version=VERSION)
        request = matcher_pb2.MatchFacesRequest(
            references=[matcher_pb2.Reference(id="q", type=matcher_pb2.REFERENCE_TYPE_RAW_DESCRIPTOR, data=data)],
            candidates=[
                matcher_pb2.Candidates(
                    faces=matcher_pb2.FaceCandidates(list_id=list_id), limit=10, targets=["external_id", "similarity"]
                )
            ],
        )
        answer = stub.MatchFaces(request, metadata=account.metadata, timeout=60)
        if answer.matches[0].matches[0].result[0].face.external_id != str(place):
            message = f"vector {place} was not found first"
            raise RuntimeError(message)

    search(0)
    return timed(search, SEARCHES)


def rest_search(service: Service, account: Account, vectors: list[bytes]) -> tuple[float, float]:
    """Searches through Envoy."""
    import base64

    session = requests.Session()
    session.auth = account.auth

    def search(number: int) -> None:
        place = number * 10 % len(vectors)
        data = {"descriptor": base64.b64encode(vectors[place]).decode(), "version": VERSION}
        body = {
            "references": [{"id": "q", "type": "raw_descriptor", "data": data}],
            "candidates": [{"filters": {"origin": "faces"}, "limit": 10}],
        }
        session.post(f"{service.rest}/6/matcher/faces", json=body, timeout=60).raise_for_status()

    search(0)
    return timed(search, SEARCHES)


if __name__ == "__main__":
    main()
