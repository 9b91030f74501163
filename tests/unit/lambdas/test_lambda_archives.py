"""Archives of lambdas: what is valid, and each thing that a stranger may have put into one."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import pyzipper

from server.lambda_archives.checking import problems_of
from server.lambda_archives.reading import DEPTH, MOST_PROBLEMS, ArchiveRules, BadArchive, LambdaArchive
from tests.zip_archives import FIFO, LINK, MAIN, overlapping, renamed, special, with_sizes, zipped

RULES = ArchiveRules(bytes=1 << 20, unpacked_bytes=8 << 20, files=50, ratio=100)
MIB = 1 << 20
LEADS_OUT = "its name leads out of the archive"


def problem(archive: bytes, rules: ArchiveRules = RULES) -> str:
    """The one problem of an archive; empty where there is none."""
    found = problems_of(archive, rules)
    assert len(found) <= 1, found
    return found[0] if found else ""


def with_name(name: str) -> bytes:
    return zipped({"lambda_main.py": MAIN, name: b"x"})


def test_an_archive_with_a_main_file_modules_and_data_is_valid() -> None:
    files = {
        "lambda_main.py": MAIN,
        "requirements.txt": b"numpy>=2\n",
        "package/__init__.py": b"",
        "package/": b"",
        "data/модель.bin": os.urandom(1000),
        "openapi.yaml": b"openapi: 3.1.0\n",
    }
    assert problems_of(zipped(files), RULES) == []
    assert problems_of(zipped(files, zipfile.ZIP_STORED), RULES) == []


def test_what_a_mac_adds_is_no_part_of_an_archive() -> None:
    data = zipped({"lambda_main.py": MAIN, "__MACOSX/._lambda_main.py": b"x", "a/.DS_Store": b"x"})
    assert LambdaArchive.open(data, RULES).names == ("lambda_main.py",)
    assert problems_of(data, RULES) == []


@pytest.mark.parametrize("data", [b"", b"x", b"PK\5\6", b"PK\3\4" + bytes(100), zipped({})[:-1]])
def test_what_is_no_zip_archive_is_told_so(data: bytes) -> None:
    assert problem(data).startswith("the archive is no ZIP archive, or a broken one")


def test_an_empty_archive_lacks_its_main_file() -> None:
    assert problem(zipped({})) == "the archive has no file lambda_main.py at its top"


def test_files_that_lie_in_a_folder_are_told_to_belong_to_the_top() -> None:
    data = zipped({"my-lambda/": b"", "my-lambda/lambda_main.py": MAIN, "my-lambda/other.py": b""})
    assert problem(data) == (
        "lambda_main.py lies in the folder 'my-lambda', and belongs at the top of the archive: "
        "pack the files, not the folder that they are in"
    )
    assert "no file lambda_main.py" in problem(zipped({"a/lambda_main.py": MAIN, "b/x": b""}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../evil.py", LEADS_OUT),
        ("a/../../evil.py", LEADS_OUT),
        ("/etc/evil", LEADS_OUT),
        ("//etc/evil", LEADS_OUT),
        ("a//b", LEADS_OUT),
        ("./a", LEADS_OUT),
        ("a/./b", LEADS_OUT),
        ("..", LEADS_OUT),
        ("C:/evil", LEADS_OUT),
        ("c:evil", LEADS_OUT),
        ("a:stream", LEADS_OUT),
        ("..\\evil", "its name has a backslash"),
        ("a\\b", "its name has a backslash"),
        ("\\\\server\\share", "its name has a backslash"),
        ("a\nb", "its name has a character that is not printable"),
        ("a\x1b[2Jb", "its name has a character that is not printable"),
        ("a\u202egnp.py", "its name has a character that is not printable"),
        ("x" * 201, "its name is too long"),
        ("ж" * 101, "its name is too long"),
        ("/".join(["x" * 100] * 6), "its name is too long"),
        ("/".join("d" * (DEPTH + 1)) + "/f", "it lies deeper than"),
        ("luna_lambda.py", "that name is the service's own"),
        ("luna_lambda/x.py", "that name is the service's own"),
        ("Luna_Lambda/x.py", "that name is the service's own"),
    ],
)
def test_a_name_that_is_dangerous_is_refused(name: str, expected: str) -> None:
    assert expected in problem(with_name(name))


def test_the_deepest_and_the_longest_name_are_taken() -> None:
    assert problem(with_name("/".join("d" * DEPTH) + "/f")) == ""
    assert problem(with_name("x" * 200)) == ""


def test_a_name_that_ends_at_a_zero_byte_for_some_is_refused() -> None:
    data = renamed(with_name("abc.py_evil"), b"abc.py_evil", b"abc.py\0evil")
    assert "not printable" in problem(data)


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    without_flag = renamed(with_name("abcd.py"), b"abcd.py", b"ab\xe4\xff.py"[:6] + b"y")
    assert "its name is not UTF-8" in problem(without_flag)
    flagged = renamed(with_name("жжж.py"), "жжж.py".encode(), b"\xff\xfe\xfd\xfc\xfb\xfa.py")
    assert "broken one: UnicodeDecodeError" in problem(flagged)


@pytest.mark.parametrize("attributes", [LINK, FIFO, 0o060000 << 16, 0o020000 << 16, 0o140000 << 16, 0o040755 << 16])
def test_links_and_what_is_no_regular_file_are_refused(attributes: int) -> None:
    assert "a link or no regular file" in problem(special("thing", attributes))


def test_a_link_under_the_name_of_a_folder_is_refused() -> None:
    assert "a link or no regular file" in problem(special("thing/", LINK))


def test_a_name_twice_is_refused_also_where_only_capitals_or_accents_differ() -> None:
    for other in ("a.py", "A.py", "a.PY"):
        assert "it is there twice" in problem(zipped([("lambda_main.py", MAIN), ("a.py", b""), (other, b"")]))
    for first, second in (("é.py", "e\u0301.py"), ("straße", "STRASSE"), ("ﬁle", "file")):
        assert "it is there twice" in problem(zipped([("lambda_main.py", MAIN), (first, b""), (second, b"")]))
    assert "another folder differs" in problem(zipped([("lambda_main.py", MAIN), ("a/x", b""), ("A/y", b"")]))
    for file, folder in (("a", "a/b"), ("a", "A/b"), ("a", "a/")):
        assert "it is a file and a folder" in problem(zipped([("lambda_main.py", MAIN), (file, b"x"), (folder, b"")]))


def test_encrypted_files_are_refused() -> None:
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"secret")
        archive.writestr("lambda_main.py", MAIN)
    assert "it is encrypted" in problem(out.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_output_cannot_be_bounded_are_refused(method: int) -> None:
    assert f"compression method {method} is not supported" in problem(zipped({"lambda_main.py": MAIN}, method))


def test_too_many_files_and_folders_are_refused() -> None:
    files = {"lambda_main.py": MAIN} | {f"f{number}": b"" for number in range(49)}
    assert problem(zipped(files)) == ""
    assert problem(zipped(files | {"folder/": b""})) == "the archive has 51 files and folders, and may have 50"


def test_an_archive_that_is_too_large_is_refused_without_being_read() -> None:
    assert problem(bytes(MIB + 1)) == f"the archive has {MIB + 1} bytes, and may have {MIB}"


def test_a_file_that_grows_too_much_is_refused() -> None:
    data = zipped({"lambda_main.py": MAIN, "zeros": bytes(2 * MIB)})
    assert problem(data) == "'zeros': it would become more than 100 times as large"
    assert problem(data, replace(RULES, ratio=2000)) == ""
    assert problem(zipped({"lambda_main.py": MAIN, "zeros": bytes(MIB)})) == ""


def test_files_that_are_too_large_together_are_refused() -> None:
    rules = replace(RULES, ratio=2000, unpacked_bytes=3 * MIB)
    files = {f"zeros{number}": bytes(MIB) for number in range(3)}
    assert "have more than 3145728 bytes together" in problem(zipped({"lambda_main.py": MAIN} | files), rules)


@pytest.mark.parametrize("declared", [0, 5, 1000, 0xFFFFFFFE])
def test_what_an_entry_says_of_its_size_is_measured(declared: int) -> None:
    """Bytes are counted as they come: an entry that says to be small grows no further, and one that lies is broken."""
    data = with_sizes(zipped({"lambda_main.py": MAIN, "zeros": bytes(2 * MIB)}), b"zeros", declared)
    assert "'zeros': it" in problem(data)


def test_entries_that_lie_in_each_other_are_refused() -> None:
    data = overlapping(40, os.urandom(1000))
    assert len(zipfile.ZipFile(io.BytesIO(data)).infolist()) == 40
    assert problem(data).endswith("broken one: EntriesOverlap")


def test_a_file_whose_bytes_are_damaged_is_refused() -> None:
    body = os.urandom(5000)
    data = bytearray(zipped({"lambda_main.py": MAIN, "noise": body}, zipfile.ZIP_STORED))
    data[data.find(body) + 100] ^= 1
    assert "'noise': it is broken: BadZipFile" in problem(bytes(data))


def test_no_more_problems_are_told_than_can_be_read() -> None:
    found = problems_of(zipped({f"../{number}": b"" for number in range(45)}), RULES)
    assert len(found) == MOST_PROBLEMS


def test_an_archive_is_unpacked_into_its_folder_alone(tmp_path: Path) -> None:
    files = {"lambda_main.py": MAIN, "a/b/c.bin": os.urandom(3 * MIB), "empty": b"", "folder/": b""}
    rules = replace(RULES, bytes=8 * MIB)
    LambdaArchive.open(zipped(files), rules).unpack(tmp_path / "code")
    found = {
        str(path.relative_to(tmp_path / "code")): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found == {name: data for name, data in files.items() if not name.endswith("/")}


def test_unpacking_ends_where_the_files_become_too_large(tmp_path: Path) -> None:
    rules = replace(RULES, ratio=2000, unpacked_bytes=3 * MIB)
    archive = LambdaArchive.open(zipped({f"zeros{number}": bytes(MIB) for number in range(5)}), rules)
    with pytest.raises(BadArchive, match="together"):
        archive.unpack(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * MIB


@pytest.mark.parametrize(
    "source",
    [
        "async def main(request): return 1",
        "async def main(request, *, deadline=1): return 1",
        "async def main(request, extra=None): return 1",
        "async def main(*args): return 1",
        "async def main(request, /): return 1",
        "import os\nif os.name:\n    async def main(r): pass\nelse:\n    pass",
        "try:\n    pass\nfinally:\n    async def main(r): pass",
        "def main(): pass\nasync def main(request): pass",
        "@decorated\nasync def main(request): pass",
        "# coding: latin-1\nasync def main(request): return '\xe9'",
        "x = '\\d'\nasync def main(request): pass",
        "\ufeffasync def main(request): pass",
    ],
)
def test_a_main_function_is_found(source: str) -> None:
    encoding = "latin-1" if "latin" in source else "utf-8"
    assert problem(zipped({"lambda_main.py": source.encode(encoding)})) == ""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "lambda_main.py has no function main: async def main(request)"),
        ("class A:\n    async def main(self): pass", "lambda_main.py has no function main: async def main(request)"),
        ("x = 'async def main(request): pass'", "lambda_main.py has no function main: async def main(request)"),
        ("\ndef main(request): pass", "lambda_main.py, line 2: main must be an asynchronous function"),
        ("async def main(r): pass\ndef main(r): pass", "lambda_main.py, line 2: main must be an asynchronous function"),
        ("class main: pass", "main must be an asynchronous function"),
        ("async def main(): pass", "lambda_main.py, line 1: main must take one parameter"),
        ("async def main(a, b): pass", "main must take one parameter"),
        ("async def main(*, request): pass", "main must take one parameter"),
        ("async def main(request, *, more): pass", "main must take one parameter"),
        ("async def main(**all): pass", "main must take one parameter"),
        ("\n\nasync def main(request:\n", "lambda_main.py, line 3: "),
        ("x = \xe9", "lambda_main.py"),
        ("# coding: nonsense\n", "lambda_main.py"),
        ("a\0b", "lambda_main.py"),
        ("(" * 5000, "lambda_main.py"),
        ("x = " + "-" * 100_000 + "1", "lambda_main.py"),
    ],
)
def test_a_main_file_without_a_main_function_is_refused(source: str, expected: str) -> None:
    assert expected in problem(zipped({"lambda_main.py": source.encode("latin-1")}))


def test_a_main_file_that_is_too_large_is_refused() -> None:
    data = zipped({"lambda_main.py": MAIN + b"#" + os.urandom(300_000).hex().encode()})
    assert problem(data) == "'lambda_main.py': it has more than 524288 bytes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("# nothing\n\n   \n", ""),
        ("numpy\n", ""),
        ("numpy >=2, <3 ; python_version > '3.10'  # why\r\nPillow[extra]==11.0\n", ""),
        ("\ufeffnumpy", ""),
        ("-r other.txt", "requirements.txt, line 1: options are not taken: '-r other.txt'"),
        ("numpy\n--index-url http://evil", "requirements.txt, line 2: options are not taken"),
        ("-e .", "options are not taken"),
        ("--hash=sha256:0", "options are not taken"),
        ("numpy --hash=sha256:0", "it is no requirement"),
        ("numpy @ https://evil/numpy.whl", "requirements.txt, line 1: addresses are not taken: 'numpy'"),
        ("numpy @ file:///etc/passwd", "addresses are not taken"),
        ("https://evil/x.whl", "it is no requirement"),
        ("./local", "it is no requirement"),
        ("../x.whl", "it is no requirement"),
        ("git+https://evil/x", "it is no requirement"),
        ("${HOME}", "it is no requirement"),
        ("numpy \\\n>=2", "it is no requirement"),
        ("a" * 500 + "!", "it is no requirement: 'aaaa"),
    ],
)
def test_requirements_are_plain_ones(text: str, expected: str) -> None:
    found = problem(zipped({"lambda_main.py": MAIN, "requirements.txt": text.encode()}))
    assert expected in found
    assert bool(found) == bool(expected)


def test_requirements_that_are_not_utf_8_or_too_many_are_refused() -> None:
    assert problem(zipped({"lambda_main.py": MAIN, "requirements.txt": b"\xff"})) == "requirements.txt is not UTF-8"
    many = b"".join(b"p%d\n" % number for number in range(201))
    found = problem(zipped({"lambda_main.py": MAIN, "requirements.txt": many}))
    assert found == "requirements.txt has 201 requirements, and may have 200"


def test_packages_are_held_to_the_list_of_the_operator() -> None:
    data = zipped({"lambda_main.py": MAIN, "requirements.txt": b"NumPy\nrequests\nzope.interface"})
    rules = replace(RULES, requirements=("numpy", "Zope_Interface"))
    assert problem(data, rules) == "requirements.txt: package 'requests' is not allowed on this server"
    assert problem(data, replace(rules, requirements=("*", "x"))) == ""
    assert len(problems_of(data, replace(rules, requirements=()))) == 3


def test_a_name_without_end_is_told_by_its_beginning() -> None:
    rules = replace(RULES, requirements=("numpy",))
    told = problem(zipped({"lambda_main.py": MAIN, "requirements.txt": b"ab" * 1000}), rules)
    assert told == f"requirements.txt: package '{'ab' * 50}...' is not allowed on this server"


def test_a_package_whose_wheel_is_brought_needs_no_permission() -> None:
    wheel = "wheels/my_package-1.0-py3-none-any.whl"
    data = zipped({"lambda_main.py": MAIN, "requirements.txt": b"My.Package", wheel: b"PK"})
    assert problem(data, replace(RULES, requirements=())) == ""


@pytest.mark.parametrize("name", ["wheels/x.tar.gz", "wheels/evil.whl", "wheels/a/x-1-py3-none-any.whl"])
def test_the_folder_of_wheels_has_wheels_alone(name: str) -> None:
    found = problem(zipped({"lambda_main.py": MAIN, name: b"x"}))
    assert "the folder wheels/ has wheels alone" in found
