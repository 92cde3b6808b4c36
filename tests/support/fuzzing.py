"""Hostile repositories: sound ones and the examples of all rules, with files broken in every way.

:func:`hostile` makes one from a random source; :func:`examine` validates it and raises when the
validator does anything but report.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.privileges import obeying_modes
from trtbuild import check, pbtxt, toolchain
from trtbuild.check import Example, Options, Report, write_example
from trtbuild.check.engine import MISTAKE
from trtbuild.check.formats import FORMATS
from trtbuild.cli.validate_view import report_lines
from trtbuild.errors import UsageError

SECRET = "the-secret-of-somebody-else"
_SECONDS = 20
_BYTES = 4 << 30  # an ONNX file of 1 GB is a model like others, and is read whole
_MOST = 300_000  # characters of a text; protobuf's and YAML's parsers in Python take 1 s for 1 MB
_NUMBERS = ["0", "-1", "2147483648", "-9223372036854775809", "18446744073709551616", "1e400",
            "-0", "0x7f", "017", "nan", "inf", "1.5", "9" * 400, "1" * 5000]  # fmt: skip
_TOKENS = ["{", "}", "[", "]", ":", ",", "<", ">", '"', "'", "#", "\0", "\n", "\r\n", "\ufeff",
           "\u202e", "${x}", "/*", "true", "false", "TYPE_FP32", "KIND_GPU", "-", "[a.b/c]",
           "\x1b[31m", "# trtbuild: ignore[TRT]", "# trtbuild: ignore-model[,]", '"\\777"',
           "'\\xff'"]  # fmt: skip
_JSON = ["[" * 2000, "{}", "[]", "null", "NaN", '"x"', "1e999", '{"a":' * 900, "\\ud800", "-" * 99]


def _field_names() -> list[str]:
    waiting, names = [type(pbtxt.parse("")).DESCRIPTOR], {}
    while waiting:
        message = waiting.pop()
        for field in message.fields:
            names[field.name] = None
            if field.message_type is not None and field.message_type.full_name not in names:
                names[field.message_type.full_name] = None
                waiting.append(field.message_type)
    return [name for name in names if "." not in name]


_FIELDS = _field_names()
_RELEASES = ["", *(row.triton for row in toolchain.releases())]
_EXAMPLES = [
    *(Example(base=base) for base in ("python", "vllm", "checkpoint", "ensemble")),
    *(example for rule in check.all_rules() for example in (*rule.bad, *rule.good)),
]


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_MOST)


Change = Callable[[random.Random, Path], None]


def _edit_text(rng: random.Random, path: Path) -> None:
    """A few edits of a text: numbers, tokens, slices moved, doubled or lost."""
    text = _start(path).decode("utf-8", errors="surrogateescape")
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(_TEXT_EDITS)(rng, text)[:_MOST]
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))


def _insert(rng: random.Random, text: str) -> str:
    at = rng.randint(0, len(text))
    word = rng.choice([rng.choice(_TOKENS), rng.choice(_NUMBERS), rng.choice(_FIELDS),
                       rng.choice(_JSON)])  # fmt: skip
    return f"{text[:at]} {word} {text[at:]}"


def _add_field(rng: random.Random, text: str) -> str:
    value = rng.choice(["{ }", "[ ]", '"x"', "1", "-1", "true", "{ " * 400, rng.choice(_NUMBERS)])
    return f"{text}\n{rng.choice(_FIELDS)}: {value}\n"


def _change_number(rng: random.Random, text: str) -> str:
    places = [at for at, char in enumerate(text) if char.isdigit()]
    if not places:
        return text
    at = rng.choice(places)
    return text[:at] + rng.choice(_NUMBERS) + text[at + 1 :]


def _change_slice(rng: random.Random, text: str) -> str:
    begin, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    end = min(end, begin + 200)
    part = rng.choice(["", text[begin:end] * 2, text[begin:end][::-1], text[begin:end].upper()])
    return text[:begin] + part + text[end:]


def _nest(rng: random.Random, text: str) -> str:
    deep = rng.choice([50, 500, 5000])
    return text + f"{rng.choice(_FIELDS)} {{ " * deep + "}" * rng.choice([deep, deep - 1, 0])


def _repeat(rng: random.Random, text: str) -> str:
    return (text + "\n") * rng.randint(2, 20)


_TEXT_EDITS = [_insert, _insert, _add_field, _change_number, _change_slice, _nest, _repeat]


def _flip_bytes(rng: random.Random, path: Path) -> None:
    content = bytearray(_start(path))
    for _ in range(rng.randint(1, 8)):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def _cut(rng: random.Random, path: Path) -> None:
    os.truncate(path, rng.randint(0, path.stat().st_size))


def _grow(rng: random.Random, path: Path) -> None:
    os.truncate(path, rng.choice([1 << 30, (16 << 20) + 1, 70 << 20]))


def _noise(rng: random.Random, path: Path) -> None:
    path.write_bytes(rng.randbytes(rng.choice([0, 1, 8, 100, 3000])))


def _pipe(rng: random.Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(rng: random.Random, path: Path) -> None:
    path.unlink()
    outside = os.path.relpath(path.parents[len(path.parts) - 3] / "outside/secret", path.parent)
    path.symlink_to(
        rng.choice([path.name, "..", "../..", outside, "/dev/zero", "none", "/proc/self"])
    )


def _forbid(rng: random.Random, path: Path) -> None:
    rng.choice([path, path.parent]).chmod(rng.choice([0, 0o200, 0o400, 0o100]))


def _odd_name(rng: random.Random, path: Path) -> None:
    odd = [b"\xff", b"a\nb", b"\x1b[2J", b"-rf", b"..a", b" ", b"9" * 40, b"01", b"x" * 250]
    path.rename(path.parent / os.fsdecode(rng.choice(odd)))


def _deep_folders(rng: random.Random, path: Path) -> None:
    (path.parent / "/".join("d" * rng.choice([1, 60]) for _ in range(60))).mkdir(
        parents=True, exist_ok=True
    )


_CHANGES: list[Change] = [
    *([_edit_text] * 12), *([_flip_bytes] * 3), _cut, _noise, _grow, _pipe, _folder, _link, _forbid,
    _odd_name, _deep_folders,
]  # fmt: skip


def hostile(rng: random.Random, folder: Path) -> tuple[Path, int]:
    """Make a repository in the empty ``folder``; where it is, and how many files were mutated."""
    (folder / "outside").mkdir()
    (folder / "outside/secret").write_text(SECRET)
    repo = folder / "repo"
    repo.mkdir()
    write_example(rng.choice(_EXAMPLES), repo)
    mutated = 0
    for _ in range(rng.choice([1, 1, 2, 3])):
        files = sorted(p for p in repo.rglob("*") if p.is_file() and not p.is_symlink())
        if not files:
            break
        path = rng.choice([*files, *(p for p in files if p.name == "config.pbtxt")])
        try:
            rng.choice(_CHANGES)(rng, path)
        except OSError:
            continue  # an earlier change is in the way
        mutated += 1
    return repo, mutated


def examine(rng: random.Random, repo: Path) -> Report:
    """Validate and print in every format; AssertionError or whatever the validator raised."""
    options = Options(
        triton=rng.choice(_RELEASES), auto_complete=rng.random() < 0.5, full=rng.random() < 0.2,
        gpus=rng.choice([None, 0, 2]),
    )  # fmt: skip
    with _bounded(), obeying_modes():
        try:
            report = check.validate_all([repo], options)
        except UsageError:
            return Report()  # the repository's own directory may not be read
        texts = ["\n".join(report_lines(report, (repo,)))]
        texts.append(FORMATS[rng.choice(sorted(FORMATS))](report))
    for found in report.findings:
        assert found.rule != MISTAKE, found.message
        said = (found.model, found.file, found.message, found.server_message, found.fix)
        assert all(part.isprintable() for part in said), found
    for text in texts:
        assert SECRET not in text
        text.encode()
    return report


@contextmanager
def _bounded() -> Iterator[None]:
    """CPU time and memory that a small repository may take; more raises."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"the validator took more than {_SECONDS} s of CPU")

    previous = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def one_case(rng: random.Random, keep: Path | None = None) -> int:
    """Make, examine and remove one repository; how many files were mutated.

    With ``keep``, a repository that the validator fails on is copied there.
    """
    folder = Path(tempfile.mkdtemp(prefix="trtbuild-fuzz-", dir=fast_folder()))
    try:
        repo, mutated = hostile(rng, folder)
        try:
            examine(rng, repo)
        except BaseException:
            if keep is not None:
                shutil.copytree(repo, keep, symlinks=True, ignore=_pipes, dirs_exist_ok=True)
            raise
        return mutated
    finally:
        shutil.rmtree(folder)


def _pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder) / name).is_file()
            and not (Path(folder) / name).is_dir()]  # fmt: skip


def fast_folder() -> str | None:
    """Memory, where it is a directory."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
