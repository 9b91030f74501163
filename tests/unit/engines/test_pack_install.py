"""Installing packs: from files, from addresses, and everything that may go wrong on the way."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.packs.errors import DownloadFailed, FileRefused, FileUnknown, InstallFailed, LicenceNotAccepted
from engines.packs.install import Given, given, install
from engines.packs.manifest import Manifest
from engines.packs.pack import MANIFEST, Pack
from server.commands.download import download

CONTENT = bytes(range(256)) * 5000
OTHER = b"another network" * 1000


@dataclass
class Site:
    """A server on loopback: what it answers by path, and how often it was asked."""

    port: int
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def serve(self, path: str, content: bytes, *, announced: int | None = None) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content) if announced is None else announced))
            handler.end_headers()
            handler.wfile.write(content)

        self.answers[f"/{path}"] = answer
        return self.url(path)

    def redirect(self, path: str, target: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.end_headers()

        self.answers[f"/{path}"] = answer
        return self.url(path)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            one.asked.append(self.path)
            answer = one.answers.get(self.path)
            if answer is None:
                self.send_error(404)
            else:
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one = Site(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield one
    server.shutdown()
    thread.join()
    server.server_close()


def described(content: bytes, name: str = "net.onnx", **more: object) -> dict[str, object]:
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}


def manifest(*files: dict[str, object], **changed: object) -> Manifest:
    terms = {"licence": "all rights", "source": "somewhere"}
    models = [
        {"task": "emotions", "adapter": "expression", "files": {"network": file["name"]}, **terms} for file in files
    ]
    whole = {"format": 2, "name": "some", "version": "1", **terms, "files": list(files), "models": models}
    return Manifest.from_json(json.dumps({**whole, **changed}))


def put(folder: Path, one: Manifest, files: Given | None = None, *, accept: bool = False) -> Pack:
    return install(folder, one, files=files or Given(), fetch=download, progress=lambda *_: None, accept_license=accept)


def left(folder: Path) -> set[str]:
    """What is in the folder of packs, apart from the lock."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")} if folder.exists() else set()


def test_a_pack_is_installed_from_its_addresses_with_progress(tmp_path: Path, site: Site) -> None:
    one = manifest(described(CONTENT, url=site.serve("a/net.onnx", CONTENT)))
    steps: list[tuple[str, int, int]] = []
    pack = install(
        tmp_path,
        one,
        files=Given(),
        fetch=download,
        progress=lambda *step: steps.append(step),
        accept_license=False,
    )
    pack.verify()
    assert (pack.folder / "net.onnx").read_bytes() == CONTENT
    assert steps[0] == ("net.onnx", 0, len(CONTENT))
    assert steps[-1] == ("net.onnx", len(CONTENT), len(CONTENT))
    assert [count for _, count, _ in steps] == sorted(count for _, count, _ in steps)
    assert left(tmp_path) == {"some"}
    assert {path.name for path in pack.folder.iterdir()} == {"net.onnx", MANIFEST}


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path, site: Site) -> None:
    url = site.serve("net.onnx", CONTENT)
    put(tmp_path, manifest(described(CONTENT, url=url)))
    second = described(OTHER, "more.onnx", url=site.serve("more.onnx", OTHER))
    pack = put(tmp_path, manifest(described(CONTENT, url=url), second))
    pack.verify()
    assert site.asked == ["/net.onnx", "/more.onnx"]


def test_files_are_taken_by_name_or_by_checksum(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "another name").write_bytes(CONTENT)
    (folder / "more.onnx").write_bytes(OTHER)
    one = manifest(described(CONTENT), described(OTHER, "more.onnx"))
    put(tmp_path / "packs", one, given([], folder)).verify()
    put(tmp_path / "packs", one, given([folder / "another name", folder / "more.onnx"], None)).verify()


def test_a_file_without_an_address_has_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(FileUnknown, match=r"net\.onnx has no address .* --file PATH"):
        put(tmp_path, manifest(described(CONTENT)))
    with pytest.raises(FileUnknown, match="is no file"):
        given([tmp_path / "nothing"], None)
    with pytest.raises(FileUnknown, match="is no folder"):
        given([], tmp_path / "nothing")
    assert left(tmp_path) == set()


def test_a_wrong_checksum_names_both(tmp_path: Path, site: Site) -> None:
    changed = bytearray(CONTENT)
    changed[77] ^= 1
    found, wanted = hashlib.sha256(changed).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(FileRefused, match=f"sha256 {found}, it should have {wanted}"):
        put(tmp_path / "packs", manifest(described(CONTENT, url=site.serve("net.onnx", bytes(changed)))))
    path = tmp_path / "net.onnx"
    path.write_bytes(changed)
    with pytest.raises(FileRefused, match=f"sha256 {found}, it should have {wanted}"):
        put(tmp_path / "packs", manifest(described(CONTENT)), given([path], None))
    assert left(tmp_path / "packs") == set()


@pytest.mark.parametrize(
    ("content", "announced", "told"),
    [
        (CONTENT[:-1], None, f"ends after {len(CONTENT) - 1} of {len(CONTENT)} bytes"),
        (CONTENT + b"0", None, f"more than the {len(CONTENT)} bytes"),
        (CONTENT[:1000], len(CONTENT), "cannot be fetched"),
    ],
    ids=["truncated", "oversize", "interrupted"],
)
def test_a_file_of_another_length_is_refused(
    tmp_path: Path, site: Site, content: bytes, announced: int | None, told: str
) -> None:
    url = site.serve("net.onnx", content, announced=announced)
    with pytest.raises(DownloadFailed, match=told):
        put(tmp_path, manifest(described(CONTENT, url=url)))
    assert left(tmp_path) == set()


def test_not_one_byte_too_many_is_written(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "target"
    with pytest.raises(DownloadFailed, match="more than the 1000 bytes"):
        download(site.serve("large", CONTENT), 1000, target, lambda _: None)
    assert target.stat().st_size <= 1000


def test_redirects_lead_to_http_only(tmp_path: Path, site: Site) -> None:
    secret = tmp_path / "net.onnx"
    secret.write_bytes(CONTENT)
    good = site.redirect("good", site.serve("net.onnx", CONTENT))
    put(tmp_path / "packs", manifest(described(CONTENT, url=good))).verify()
    bad = site.redirect("bad", secret.as_uri())
    other = manifest(described(CONTENT, url=bad), name="other")
    with pytest.raises(DownloadFailed, match="cannot be fetched"):
        put(tmp_path / "packs", other)
    endless = site.redirect("endless", site.url("endless"))
    with pytest.raises(DownloadFailed, match="redirects"):
        put(tmp_path / "packs", manifest(described(CONTENT, url=endless), name="endless"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "/etc/passwd", "http://127.0.0.1:1/a"])
def test_an_address_that_cannot_be_fetched_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed, match=url):
        put(tmp_path, manifest(described(CONTENT, url=url)))


def test_a_missing_page_is_told_with_its_status(tmp_path: Path, site: Site) -> None:
    with pytest.raises(DownloadFailed, match="404"):
        put(tmp_path, manifest(described(CONTENT, url=site.url("nowhere"))))


def test_a_licence_has_to_be_accepted_before_anything_is_fetched(tmp_path: Path, site: Site) -> None:
    url = site.serve("net.onnx", CONTENT)
    one = manifest(described(CONTENT, url=url), accept_license=True)
    with pytest.raises(LicenceNotAccepted, match="--accept-license: all rights"):
        put(tmp_path, one)
    assert site.asked == []
    put(tmp_path, one, accept=True).verify()


def test_a_full_disk_leaves_the_pack_that_was_there(tmp_path: Path, site: Site) -> None:
    url = site.serve("net.onnx", CONTENT)
    before = put(tmp_path, manifest(described(CONTENT, url=url)))

    def full(url: str, size: int, target: Path, progress: Callable[[int], None]) -> None:
        target.write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    second = manifest(described(CONTENT, url=url), described(OTHER, "more.onnx", url=site.url("more.onnx")))
    with pytest.raises(InstallFailed, match="'some' is not installed: the disk is full"):
        install(tmp_path, second, files=Given(), fetch=full, progress=lambda *_: None, accept_license=False)
    before.verify()
    assert left(tmp_path) == {"some"}


def test_an_installation_that_was_broken_off_leaves_nothing(tmp_path: Path, site: Site) -> None:
    def broken(name: str, count: int, size: int) -> None:
        if count > 0:
            raise KeyboardInterrupt

    one = manifest(described(CONTENT, url=site.serve("net.onnx", CONTENT)))
    with pytest.raises(KeyboardInterrupt):
        install(tmp_path, one, files=Given(), fetch=download, progress=broken, accept_license=False)
    assert left(tmp_path) == set()
    (tmp_path / ".some.new-killed").mkdir()
    put(tmp_path, one).verify()
    assert left(tmp_path) == {"some"}


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".onnx", content)
    return buffer.getvalue()


def archived(content: bytes, name: str, archive: bytes, url: str, member: str) -> dict[str, object]:
    whole = {"url": url, "size": len(archive), "sha256": hashlib.sha256(archive).hexdigest(), "member": member}
    return described(content, name, archive=whole)


def test_files_are_taken_out_of_an_archive_that_is_fetched_once(tmp_path: Path, site: Site) -> None:
    data = zipped(a__net=CONTENT, more=OTHER)
    url = site.serve("all.zip", data)
    files = (
        archived(CONTENT, "net.onnx", data, url, "a/net.onnx"),
        archived(OTHER, "more.onnx", data, url, "more.onnx"),
    )
    pack = put(tmp_path, manifest(*files))
    pack.verify()
    assert site.asked == ["/all.zip"]
    assert {path.name for path in pack.folder.iterdir()} == {"net.onnx", "more.onnx", MANIFEST}


@pytest.mark.parametrize(
    ("member", "content", "told"),
    [("gone.onnx", CONTENT, "has no gone.onnx"), ("net.onnx", CONTENT[:-5], "bytes, it should have")],
)
def test_an_archive_without_the_right_member_is_refused(
    tmp_path: Path, site: Site, member: str, content: bytes, told: str
) -> None:
    data = zipped(net=CONTENT)
    file = archived(content, "net.onnx", data, site.serve("all.zip", data), member)
    with pytest.raises(FileRefused, match=told):
        put(tmp_path, manifest(file))
    assert left(tmp_path) == set()


def test_an_archive_that_was_changed_is_not_opened(tmp_path: Path, site: Site) -> None:
    data = zipped(net=CONTENT)
    changed = bytearray(data)
    changed[-1] ^= 1
    file = archived(CONTENT, "net.onnx", data, site.serve("all.zip", bytes(changed)), "net.onnx")
    with pytest.raises(FileRefused, match=r"all\.zip has sha256"):
        put(tmp_path, manifest(file))
