"""Archives of lambdas at random: valid ones with anything in them, and then with any of their bytes changed.

Whatever an archive is, looking at it ends with a list of problems, and what is valid unpacks into its folder alone.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.lambda_archives.checking import problems_of
from server.lambda_archives.reading import ArchiveRules, BadArchive, LambdaArchive
from tests.zip_archives import MAIN, zipped

RULES = ArchiveRules(bytes=1 << 20, unpacked_bytes=3 << 20, files=12, ratio=50, requirements=("numpy",))
EXAMPLES = 400

parts = st.one_of(
    st.sampled_from(
        ["a", "A", "b", "..", ".", "", "lambda_main.py", "requirements.txt", "wheels", "C:", "é", "e\u0301"]
    ),
    st.text(max_size=12),
)
names = st.one_of(
    st.sampled_from(["lambda_main.py", "requirements.txt", "openapi.yaml"]),
    st.builds("/".join, st.lists(parts, min_size=1, max_size=6)),
).filter(lambda name: 0 < len(name.encode(errors="ignore")) < 60_000 and name.isprintable())
contents = st.one_of(
    st.just(MAIN),
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda text: text.encode(errors="ignore")),
    st.builds(lambda byte, count: byte * count, st.binary(min_size=1, max_size=3), st.integers(0, 1 << 20)),
)
files = st.lists(st.tuples(names, contents), max_size=14)
methods = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8)


def looked_at(data: bytes) -> None:
    """Look at an archive and, where it is valid, unpack it and measure what has become of it."""
    problems = problems_of(data, RULES)
    assert all(isinstance(one, str) and one.isprintable() and len(one) < 2000 for one in problems)
    try:
        archive = LambdaArchive.open(data, RULES)
    except BadArchive:
        assert problems
        return
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "outer" / "code"
        try:
            archive.unpack(folder)
            whole = True
        except BadArchive:
            whole = False
            assert problems
        written = [path for path in Path(outer).rglob("*") if path.is_file()]
        assert all(path.is_relative_to(folder) and not path.is_symlink() for path in written)
        assert sum(path.stat().st_size for path in written) <= RULES.unpacked_bytes
        if whole:
            assert {str(path.relative_to(folder)) for path in written} == set(archive.names)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(files, methods)
def test_any_files_are_looked_at(entries: list[tuple[str, bytes]], method: int) -> None:
    looked_at(zipped(entries, method))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(files, methods, changes, st.integers(0, 40), st.binary(max_size=20))
def test_any_damage_is_looked_at(
    entries: list[tuple[str, bytes]], method: int, spots: list[tuple[float, int]], cut: int, more: bytes
) -> None:
    data = bytearray(zipped(entries, method))
    for place, value in spots:
        data[min(len(data) - 1, int(place * len(data)))] = value
    looked_at(bytes(data[: len(data) - cut]) + more)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_looked_at(data: bytes) -> None:
    assert problems_of(data, RULES)
    assert problems_of(b"PK\3\4" + data + b"PK\5\6" + bytes(18), replace(RULES, files=1))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda text: text.encode(errors="ignore"))))
def test_any_source_and_any_requirements_are_looked_at(data: bytes) -> None:
    found = problems_of(zipped({"lambda_main.py": data, "requirements.txt": data}), RULES)
    assert found
    assert all(one.isprintable() for one in found)
