"""What lambdas ask to be installed: what is understood, and what is allowed."""

from __future__ import annotations

import json

import pytest

from server.lambdas.local.requirements import Planned, Refused, asked, judge, pinned, planned

OWN = "/lambda/code/wheels"


def entry(name: str, url: str, sha256: str = "ab") -> dict[str, object]:
    return {
        "metadata": {"name": name, "version": "1.0"},
        "download_info": {"url": url, "archive_info": {"hashes": {"sha256": sha256} if sha256 else {}}},
    }


def report(*entries: dict[str, object]) -> bytes:
    return json.dumps({"version": "1", "install": entries}).encode()


def test_names_versions_extras_and_markers_are_understood() -> None:
    text = "# mine\n\nNumpy>=2 # why\nrequests[socks]==2.*\nx; python_version<'3'\n"
    assert asked(text) == ("Numpy>=2", "requests[socks]==2.*", 'x; python_version < "3"')


@pytest.mark.parametrize(
    "line", ["-r other.txt", "--pre", "x @ https://h/x.whl", "./x", "a b", "x \\", "\x00", "x" * 5 + "!"]
)
def test_anything_else_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(Refused, match="line 2:"):
        asked(f"numpy\n{line}")


def test_packages_of_the_archive_are_told_from_others() -> None:
    plan = planned(
        report(
            entry("My.Own", f"file://{OWN}/my_own-1.0-py3-none-any.whl"),
            entry("other", f"file://{OWN}/../x/other-1.0-py3-none-any.whl"),
            entry("far", "https://host/lambda/code/wheels/far-1.0-py3-none-any.whl"),
        ),
        OWN,
    )
    assert [(one.name, one.own) for one in plan] == [("my-own", True), ("other", False), ("far", False)]


def test_only_wheels_are_planned() -> None:
    with pytest.raises(Refused, match=r"x-1.0.tar.gz is no wheel"):
        planned(report(entry("x", "https://host/x-1.0.tar.gz")), OWN)
    with pytest.raises(Refused):
        planned(b"[]", OWN)


def test_what_is_not_allowed_is_refused_by_its_normal_name() -> None:
    plan = [Planned("my-own", "1", True, ""), Planned("foo-bar", "1", False, ""), Planned("baz", "1", False, "")]
    judge(plan, ["*"])
    judge(plan, ["Foo_Bar", "BAZ"])
    with pytest.raises(Refused, match=r"allows: baz$"):
        judge(plan, ["foo.bar"])
    with pytest.raises(Refused, match=r"allows: baz, foo-bar$"):
        judge(plan, [])


def test_exactly_what_was_planned_is_installed() -> None:
    plan = [Planned("a", "1", False, "00"), Planned("b", "2", False, "11")]
    assert pinned(plan) == "a==1 --hash=sha256:00\nb==2 --hash=sha256:11\n"
    assert pinned([*plan, Planned("c", "3", True, "")]) == "a==1\nb==2\nc==3\n"
