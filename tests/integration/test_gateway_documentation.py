"""The documentation as the running service gives it."""

from __future__ import annotations

import grpc
import pytest
import requests
from luna.v6 import documents_pb2, documents_pb2_grpc
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.documents import read_yaml
from tests.service import Service


@pytest.mark.parametrize(("accept", "media"), [
    ("application/x-yaml", "application/x-yaml"), ("text/html", "text/html"), ("*/*", "application/x-yaml"),
    ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"), ("application/x-yaml;q=0.5, text/*", "text/html"),
    (None, "application/x-yaml"),
])  # fmt: skip
def test_the_description_comes_in_the_form_that_is_asked_for(service: Service, accept: str | None, media: str) -> None:
    with requests.Session() as session:
        session.headers.clear()
        got = session.get(f"{service.rest}/docs/spec", headers={"Accept": accept} if accept else {}, timeout=30)
    assert (got.status_code, got.headers["Content-Type"].partition(";")[0]) == (200, media)
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    if media == "text/html":
        assert got.text.startswith("<!doctype html>")
        assert "frame-ancestors 'none'" in got.headers["Content-Security-Policy"]
    else:
        OpenAPIV31SpecValidator(read_yaml(got.content)).validate()


@pytest.mark.parametrize("accept", ["application/json", "text/html;q=0", "image/*"])
def test_other_forms_are_refused(service: Service, accept: str) -> None:
    got = requests.get(f"{service.rest}/docs/spec", headers={"Accept": accept}, timeout=30)
    assert (got.status_code, got.json()["error_code"]) == (406, 12023)


def test_the_manual_begins_where_its_address_leads(service: Service) -> None:
    got = requests.get(f"{service.rest}/docs/dev", timeout=30)
    assert got.url == f"{service.rest}/docs/dev/index.html"
    assert (got.status_code, [one.status_code for one in got.history]) == (200, [302])
    assert "<h1>" in got.text


def test_the_link_of_an_error_leads_to_its_line(service: Service) -> None:
    error = requests.get(f"{service.rest}/6/faces", timeout=30).json()
    page, _, anchor = error["link"].partition("#")
    assert anchor == str(error["error_code"])
    assert f'id="{anchor}"' in requests.get(f"{service.rest}{page}", timeout=30).text


@pytest.mark.parametrize("page", ["../../etc/passwd", "..%2f..%2fREADME.md", "README.md", "nope.html", "%2e%2e/x"])
def test_no_other_file_is_given(service: Service, page: str) -> None:
    prepared = requests.Request("GET", f"{service.rest}/docs/dev/x").prepare()
    prepared.url = f"{service.rest}/docs/dev/{page}"
    with requests.Session() as session:
        got = session.send(prepared, timeout=30)
    assert (got.status_code, got.json()["error_code"]) == (404, 12013)


def test_grpc_has_the_documents_too(service: Service) -> None:
    with service.channel() as channel:
        stub = documents_pb2_grpc.DocumentsStub(channel)
        page = stub.GetSpecification(documents_pb2.GetSpecificationRequest(), metadata=(("accept", "text/html"),))
        assert page.data.startswith(b"<!doctype html>")
        assert stub.GetManual(documents_pb2.GetManualRequest()).content_type.startswith("text/html")
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetManual(documents_pb2.GetManualRequest(page="../README.md"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
