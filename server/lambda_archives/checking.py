"""What is wrong with the archive of a lambda, as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from server.lambda_archives.main_function import MAIN_FILE, SOURCE_BYTES, problem_of_source
from server.lambda_archives.reading import MOST_PROBLEMS, ArchiveRules, BadArchive, LambdaArchive, shown
from server.lambda_archives.requirements import REQUIREMENTS_BYTES, REQUIREMENTS_FILE, problems_of_requirements


def problems_of(data: bytes, rules: ArchiveRules) -> list[str]:
    """What is wrong with an archive, a sentence each; nothing where it is valid. For a process of its own."""
    try:
        archive = LambdaArchive.open(data, rules)
        archive.measure()
        return list(_problems(archive, rules))[:MOST_PROBLEMS]
    except BadArchive as bad:
        return list(bad.problems)


def _problems(archive: LambdaArchive, rules: ArchiveRules) -> Iterator[str]:
    source = archive.read(MAIN_FILE, SOURCE_BYTES)
    problem = _missing(archive) if source is None else problem_of_source(source)
    if problem is not None:
        yield problem
    data = archive.read(REQUIREMENTS_FILE, REQUIREMENTS_BYTES) or b""
    yield from problems_of_requirements(data, archive.names, rules.requirements)


def _missing(archive: LambdaArchive) -> str:
    tops = {name.partition("/")[0] for name in archive.names}
    folder = next(iter(tops)) if len(tops) == 1 else ""
    if f"{folder}/{MAIN_FILE}" in archive.names:
        return (
            f"{MAIN_FILE} lies in the folder {shown(folder)}, and belongs at the top of the archive: "
            "pack the files, not the folder that they are in"
        )
    return f"the archive has no file {MAIN_FILE} at its top"
