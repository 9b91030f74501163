"""Folders as sources: what the operator allows, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import MakeLooking

from server.domain.task_contents import DiskSource
from server.errors import BadBody, InvalidInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """allowed/images with files, and allowed/secret.jpg and outside.jpg beside it."""
    images = tmp_path / "allowed" / "images"
    (images / "deep" / "er").mkdir(parents=True)
    for name in ("b.jpg", "a.jpg", "лицо.png", "deep/c.jpg", "deep/er/d.jpg"):
        (images / name).write_bytes(name.encode())
    (images / "empty.jpg").write_bytes(b"")
    (tmp_path / "allowed" / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    return images


async def test_no_folder_is_allowed_unless_the_operator_says_so(looking: MakeLooking, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="network_disk is off"):
        await looking().names(DiskSource(str(folder)))


async def test_files_come_in_the_order_of_their_names(looking: MakeLooking, folder: Path) -> None:
    look = looking(folders=(folder.parent,))
    assert await look.names(DiskSource(str(folder))) == ["a.jpg", "b.jpg", "empty.jpg", "лицо.png"]
    everything = await look.all(DiskSource(str(folder), recursive=True))
    assert everything == {
        "a.jpg": b"a.jpg",
        "b.jpg": b"b.jpg",
        "deep/c.jpg": b"deep/c.jpg",
        "deep/er/d.jpg": b"deep/er/d.jpg",
        "empty.jpg": b"",
        "лицо.png": "лицо.png".encode(),
    }


async def test_prefix_and_postfix_are_of_the_name_alone(looking: MakeLooking, folder: Path) -> None:
    look = looking(folders=(folder.parent,))
    assert await look.names(DiskSource(str(folder), recursive=True, prefix="c", postfix=".jpg")) == ["deep/c.jpg"]


@pytest.mark.parametrize("path", ["..", "../..", "nowhere", "images/a.jpg", "out", "/etc", "/"])
async def test_a_folder_that_is_not_allowed_is_refused(looking: MakeLooking, folder: Path, path: str) -> None:
    allowed = folder.parent
    (allowed / "out").symlink_to("/etc")
    with pytest.raises(InvalidInput, match="no folder that may be read"):
        await looking(folders=(folder,)).names(DiskSource(os.path.join(allowed, path)))  # noqa: PTH118


async def test_a_relative_path_is_refused(looking: MakeLooking, folder: Path) -> None:
    with pytest.raises(BadBody, match="absolute"):
        await looking(folders=(folder,)).names(DiskSource("images"))


async def test_links_are_followed_only_where_asked_for_and_only_inside(looking: MakeLooking, folder: Path) -> None:
    (folder / "in.jpg").symlink_to("deep/c.jpg")
    (folder / "inner").symlink_to("deep/er")
    (folder / "loop").symlink_to(".")
    (folder / "out.jpg").symlink_to("../secret.jpg")
    (folder / "far.jpg").symlink_to("/etc/passwd")
    (folder / "away").symlink_to("..")
    (folder / "broken.jpg").symlink_to("nowhere")
    look = looking(folders=(folder.parent,))
    plain = ["a.jpg", "b.jpg", "empty.jpg", "лицо.png"]
    assert await look.names(DiskSource(str(folder))) == plain
    followed = await look.all(DiskSource(str(folder), recursive=True, follow_links=True))
    assert followed["in.jpg"] == b"deep/c.jpg"
    assert not {"out.jpg", "far.jpg", "broken.jpg"} & set(followed)
    assert not [name for name in followed if name.startswith(("loop", "away"))]
    # a folder that is reached twice is looked into once
    assert len([name for name in followed if name.endswith("d.jpg")]) == 1


@pytest.mark.parametrize("follow_links", [False, True])
async def test_a_link_that_is_put_into_the_way_later_leads_nowhere(
    looking: MakeLooking, folder: Path, follow_links: bool
) -> None:
    look = looking(folders=(folder.parent,))
    async with look.open(DiskSource(str(folder), recursive=True, follow_links=follow_links)) as files:
        assert "deep/c.jpg" in [name async for name in files.names()]
        (folder / "a.jpg").unlink()
        (folder / "a.jpg").symlink_to("/etc/passwd")
        (folder / "deep").rename(folder.parent / "moved")
        (folder / "deep").symlink_to("../moved")
        for name in ("a.jpg", "deep/c.jpg", "../secret.jpg", "deep/../../secret.jpg", "", "/etc/passwd"):
            with pytest.raises(Exception, match="cannot be accessed"):
                await files.read(name)


async def test_pipes_and_large_files_are_errors_of_their_own(looking: MakeLooking, folder: Path) -> None:
    (folder / "large.jpg").write_bytes(bytes(2000))
    os.mkfifo(folder / "pipe.jpg")
    look = looking(folders=(folder,), max_bytes=1024)
    found = await look.all(DiskSource(str(folder)))
    assert "larger than 1024 bytes" in str(found["large.jpg"])
    assert "pipe.jpg" not in found
    async with look.open(DiskSource(str(folder))) as files:
        with pytest.raises(Exception, match="no regular file"):
            await files.read("pipe.jpg")


async def test_a_name_that_is_no_text_is_listed_and_is_an_error_of_its_own(looking: MakeLooking, folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb") as file:  # noqa: ASYNC230, PTH123 - a name that is no text
        file.write(b"x")
    found = await looking(folders=(folder,)).all(DiskSource(str(folder), prefix="\\"))
    assert list(found) == ["\\xff.jpg"]
    assert isinstance(found["\\xff.jpg"], str)


async def test_files_and_folders_have_a_limit(looking: MakeLooking, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="more than 3 files"):
        await looking(folders=(folder,), max_files=3).names(DiskSource(str(folder)))
    for number in range(7):
        (folder / f"folder-{number}").mkdir()
    with pytest.raises(InvalidInput, match="more than 8 folders"):
        await looking(folders=(folder,), max_files=8).names(DiskSource(str(folder), recursive=True, postfix=".no"))
