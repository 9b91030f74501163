"""Archives as sources: sound ones, encrypted ones, and those that are made to do harm."""

from __future__ import annotations

import asyncio
import io
import stat
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
import pyzipper

from server.domain.task_contents import ZipSource
from server.domain.tasks import TaskStopped
from server.errors import InvalidInput, ObjectNotFound
from storage.sources import pieces
from tests.integration.sources.conftest import OURS, THEIRS, Looking, MakeLooking

OBJECT = UUID(int=77)
REFERENCE = f"/6/objects/{OBJECT}"
NOISE = bytes(range(256)) * 16


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def stored(looking: Looking, data: bytes, **source: str) -> ZipSource:
    looking.media.objects[OBJECT] = (OURS, data)
    return ZipSource(REFERENCE, **source)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that it is served at."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_files_come_by_their_names_whatever_these_are(looking: MakeLooking) -> None:
    files = {
        "b/2.jpg": NOISE,
        "a/1.jpg": b"one",
        "фото/лицо.png": b"three",
        "empty.jpg": b"",
        "note.txt": b"x",
        "b/": b"",
    }
    look = looking()
    found = await look.all(stored(look, zipped(files)))
    assert found == {name: data for name, data in files.items() if name != "b/"}
    assert list(found) == sorted(found)


async def test_a_listing_goes_on_behind_a_name(looking: MakeLooking) -> None:
    look = looking()
    source = stored(look, zipped({f"{number}.jpg": b"x" for number in range(5)}))
    assert await look.names(source, "2.jpg") == ["3.jpg", "4.jpg"]


async def test_prefix_and_postfix_are_of_the_path(looking: MakeLooking) -> None:
    look = looking()
    files = {"in/1.jpg": b"x", "in/1.png": b"x", "out/in/2.jpg": b"x"}
    assert await look.names(stored(look, zipped(files), prefix="in/", postfix=".jpg")) == ["in/1.jpg"]


async def test_an_archive_is_downloaded_once_and_read_in_pieces(
    looking: MakeLooking, web: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1000)
    folder, address = web
    files = {f"{number}.jpg": bytes([number]) * 900 for number in range(20)}
    (folder / "images.zip").write_bytes(zipped(files, zipfile.ZIP_STORED))
    look = looking()
    source = ZipSource(f"{address}/images.zip")
    assert await look.all(source) == files
    (folder / "images.zip").unlink()
    another = looking()
    another.files = look.files
    for place, most in ((another, 8), (look, 3)):
        look.files.reads.clear()
        async with place.open(source) as opened:
            assert await opened.read("10.jpg") == files["10.jpg"]
        numbers = {name for name in look.files.reads if name[-1].isdigit()}
        assert 0 < len(numbers) < most, "the place of the file, and where it is not known the directory"


async def test_an_archive_that_is_too_large_is_refused_while_it_comes(
    looking: MakeLooking, web: tuple[Path, str]
) -> None:
    folder, address = web
    (folder / "images.zip").write_bytes(zipped({"1.bin": bytes(3 << 20)}, zipfile.ZIP_STORED))
    look = looking(archive_max_bytes=1 << 20)
    with pytest.raises(InvalidInput, match="larger than 1048576 bytes"):
        await look.names(ZipSource(f"{address}/images.zip"))


async def test_what_stands_behind_the_path_of_an_address_is_not_told(
    looking: MakeLooking, web: tuple[Path, str]
) -> None:
    with pytest.raises(InvalidInput, match="status 404") as caught:
        await looking().names(ZipSource(f"{web[1]}/none.zip?X-Amz-Signature=secret"))
    assert "secret" not in caught.value.detail


async def test_a_private_address_is_refused_unless_the_operator_allows_it(
    looking: MakeLooking, web: tuple[Path, str]
) -> None:
    with pytest.raises(InvalidInput, match="not a public one"):
        await looking(allow_private=False).names(ZipSource(f"{web[1]}/images.zip"))


async def test_the_object_of_another_account_is_not_there(looking: MakeLooking) -> None:
    look = looking()
    source = stored(look, zipped({"1.jpg": b"x"}))
    with pytest.raises(ObjectNotFound):
        async with look.open(source, THEIRS):
            pass
    with pytest.raises(ObjectNotFound):
        await look.names(ZipSource(f"/6/objects/{UUID(int=78)}"))


@pytest.mark.parametrize("data", [b"", b"no archive", zipped({"1.jpg": NOISE})[:-30], b"PK\x05\x06" + bytes(18)[:-1]])
async def test_what_is_no_archive_is_an_error_of_the_task(looking: MakeLooking, data: bytes) -> None:
    look = looking()
    with pytest.raises(InvalidInput, match="the archive cannot be used"):
        await look.names(stored(look, data))


# --- passwords


def zipcrypto(files: dict[str, bytes], password: bytes) -> bytes:
    """An archive with the cipher of PKWARE (APPNOTE 6.1), which no library at hand writes."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)

    def crc(old: int, byte: int) -> int:
        return old >> 8 ^ table[(old ^ byte) & 0xFF]

    def encrypted(data: bytes) -> bytes:
        keys = [0x12345678, 0x23456789, 0x34567890]

        def update(byte: int) -> None:
            keys[0] = crc(keys[0], byte)
            keys[1] = (keys[1] + (keys[0] & 0xFF)) * 134775813 + 1 & 0xFFFFFFFF
            keys[2] = crc(keys[2], keys[1] >> 24)

        for byte in password:
            update(byte)
        out = bytearray()
        for byte in data:
            key = keys[2] & 0xFFFF | 2
            out.append(byte ^ (key * (key ^ 1) >> 8 & 0xFF))
            update(byte)
        return bytes(out)

    plain = zipped(files, zipfile.ZIP_STORED)
    out, directory = bytearray(), bytearray()
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        for entry in archive.infolist():
            data = archive.read(entry)
            body = encrypted(bytes(11) + bytes([entry.CRC >> 24]) + data)
            name = entry.filename.encode()
            fields = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 0x21, entry.CRC, len(body), len(data), len(name), 0)
            directory += (
                b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + name
            )
            out += b"PK\x03\x04" + fields + name + body
    count = len(files)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(out), 0)
    return bytes(out + directory + end)


def aes(files: dict[str, bytes], password: bytes, bits: int = 256) -> bytes:
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", compression=pyzipper.ZIP_DEFLATED) as archive:
        archive.setpassword(password)
        archive.setencryption(pyzipper.WZ_AES, nbits=bits)
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("cipher", [zipcrypto, aes, partial(aes, bits=128)])
async def test_encrypted_files_are_read_with_their_password_alone(looking: MakeLooking, cipher: object) -> None:
    files = {"1.jpg": NOISE, "2.jpg": b"two"}
    data = cipher(files, "пароль".encode())  # type: ignore[operator]
    for password, found in (
        ("пароль", files),
        ("", dict.fromkeys(files, "it is encrypted, and no password is given")),
    ):
        look = looking()
        assert await look.all(stored(look, data, password=password)) == found
    look = looking()
    wrong = await look.all(stored(look, data, password="wrong"))
    assert all("wrong" in str(one) or "broken" in str(one) for one in wrong.values())


async def test_a_password_is_in_no_text_of_its_source() -> None:
    assert "geheim" not in repr(ZipSource(REFERENCE, password="geheim"))


# --- harm


def link(name: str, target: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system = 3
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
        archive.writestr("1.jpg", b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    "name", ["../1.jpg", "/etc/passwd", "a/../../1.jpg", "C:/1.jpg", "..\\1.jpg", "\\\\host\\1.jpg"]
)
async def test_a_name_that_leads_out_of_the_archive_is_refused(looking: MakeLooking, name: str) -> None:
    look = looking()
    found = await look.all(stored(look, zipped({name: b"bad", "good.jpg": b"good"})))
    assert found == {name: "its name leads out of the archive", "good.jpg": b"good"}


async def test_a_link_is_refused(looking: MakeLooking) -> None:
    look = looking()
    found = await look.all(stored(look, link("link.jpg", "/etc/passwd")))
    assert found == {"link.jpg": "it is a link or no regular file", "1.jpg": b"x"}


async def test_archives_within_archives_and_what_macos_adds_are_ignored(looking: MakeLooking) -> None:
    inner = zipped({"1.jpg": b"x"})
    look = looking()
    files = {"in.zip": inner, "in.tar.gz": inner, "__MACOSX/._1.jpg": b"x", "1.jpg": b"y"}
    assert await look.names(stored(look, zipped(files))) == ["1.jpg"]


@pytest.mark.parametrize("files", [{}, {"folder/": b""}], ids=["nothing", "a folder"])
async def test_an_archive_without_files_has_none(looking: MakeLooking, files: dict[str, bytes]) -> None:
    look = looking()
    assert await look.names(stored(look, zipped(files))) == []


async def test_a_file_that_would_become_too_large_is_refused_before_it_is_unpacked(looking: MakeLooking) -> None:
    look = looking(max_bytes=64 << 20)
    bomb = zipped({"bomb.bmp": bytes(50 << 20), "1.jpg": b"x"})
    assert len(bomb) < 1 << 20
    began = time.monotonic()
    found = await look.all(stored(look, bomb))
    assert found == {"bomb.bmp": "it would become more than 200 times as large", "1.jpg": b"x"}
    assert time.monotonic() - began < 1
    look = looking(max_bytes=1 << 20)
    assert "larger than 1048576 bytes" in str((await look.all(stored(look, bomb)))["bomb.bmp"])


async def test_a_file_that_has_more_bytes_than_it_declares_gives_no_more(looking: MakeLooking) -> None:
    data = zipped({"1.jpg": bytes(100_000)})
    true, false = struct.pack("<I", 100_000), struct.pack("<I", 10)
    look = looking()
    found = (await look.all(stored(look, data.replace(true, false))))["1.jpg"]
    assert "broken" in str(found), "ten bytes do not have the checksum of all"


async def test_all_files_together_have_a_limit(looking: MakeLooking) -> None:
    look = looking(archive_max_unpacked_bytes=1 << 20)
    with pytest.raises(InvalidInput, match="ARCHIVE_MAX_UNPACKED_BYTES"):
        await look.names(stored(look, zipped({f"{one}.jpg": NOISE for one in range(300)})))


async def test_the_count_of_files_has_a_limit(looking: MakeLooking) -> None:
    files = {f"{number}.jpg": b"" for number in range(101)}
    look = looking(max_files=100)
    with pytest.raises(InvalidInput, match="more than 100 files"):
        await look.names(stored(look, zipped(files)))


async def test_entries_that_share_their_bytes_make_the_archive_unusable(looking: MakeLooking) -> None:
    data = bytearray(zipped({"1.jpg": NOISE, "2.jpg": NOISE}))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)  # its offset: that of the first entry
    look = looking()
    with pytest.raises(InvalidInput, match="overlap"):
        await look.names(stored(look, bytes(data)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
async def test_a_method_whose_output_has_no_bound_is_refused(looking: MakeLooking, method: int) -> None:
    look = looking()
    found = await look.all(stored(look, zipped({"1.jpg": bytes(1000)}, method)))
    assert found == {"1.jpg": f"compression method {method} is not supported"}


async def test_a_broken_file_is_an_error_of_that_file(looking: MakeLooking) -> None:
    data = bytearray(zipped({"1.jpg": NOISE, "2.jpg": b"two"}, zipfile.ZIP_STORED))
    data[200] ^= 1
    look = looking()
    found = await look.all(stored(look, bytes(data)))
    assert found == {"1.jpg": "it is broken: BadZipFile", "2.jpg": b"two"}


@pytest.mark.parametrize("seed", range(60))
async def test_no_damage_raises_anything_but_errors(looking: MakeLooking, seed: int) -> None:
    random = Random(seed)
    made = [
        zipped({"1.jpg": NOISE, "a/2.jpg": b"two"}),
        aes({"1.jpg": NOISE}, b"p"),
        zipcrypto({"1.jpg": b"x" * 99}, b"p"),
    ]
    data = bytearray(made[seed % 3])
    for _ in range(random.randrange(1, 12)):
        data[random.randrange(len(data))] = random.randrange(256)
    look = looking()
    with suppress(InvalidInput):
        await look.all(stored(look, bytes(data), password="p"))


async def test_reading_stops_where_the_task_does(looking: MakeLooking) -> None:
    look = looking(max_bytes=64 << 20, archive_max_ratio=2000)
    source = stored(look, zipped({"1.bmp": bytes(40 << 20)}))

    def stop() -> None:
        raise TaskStopped

    async with look.open(source) as files:
        look.check = stop
        with pytest.raises(TaskStopped):
            await asyncio.wait_for(files.read("1.bmp"), 5)
