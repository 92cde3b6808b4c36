"""``trtbuild convert`` from beginning to end, on real checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.checkpoints import make_llama, write_json
from support.command_line import trtbuild
from support.conversions import run
from support.trees import snapshot
from trtbuild import check, lockfile
from trtbuild.errors import BuildError, RepositoryError, TrtbuildError, UsageError
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "my-llama", sharded=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


def test_a_folder_becomes_a_valid_repository(llama: Path, repo: Path) -> None:
    result = run(llama, repo)
    assert (result.name, result.status, result.builder) == ("my-llama", "written", "vllm")
    assert check.validate(repo, full=True).findings == ()
    weights = repo / "my-llama/1/weights"
    for path in llama.iterdir():
        assert (weights / path.name).read_bytes() == path.read_bytes()
    engine = json.loads((repo / "my-llama/1/model.json").read_text())
    assert engine["model"] == "/models/my-llama/1/weights"
    locked = lockfile.read(repo).models["my-llama"]
    assert locked.versions["vllm"] == "0.24.0"
    assert locked.image.endswith("26.07-vllm-python-py3")
    assert set(locked.files) == {
        path.relative_to(repo).as_posix() for path in (repo / "my-llama").rglob("*.*")
        if path.is_file()
    }  # fmt: skip


def test_nothing_written_names_this_machine(llama: Path, repo: Path, tmp_path: Path) -> None:
    run(llama, repo, engine={"max_model_len": 128})
    generated = [p for p in repo.rglob("*") if p.is_file() and p.suffix != ".safetensors"]
    assert len(generated) > 5
    for path in generated:
        content = path.read_bytes()
        for trace in (str(tmp_path), str(Path.home()), os.uname().nodename):
            assert trace.encode() not in content, path


def test_the_repository_can_be_moved(llama: Path, repo: Path, tmp_path: Path) -> None:
    run(llama, repo)
    shutil.rmtree(llama)
    (tmp_path / "far").mkdir()
    moved = Path(shutil.move(repo, tmp_path / "far" / "away"))
    assert check.validate(moved, full=True).findings == ()


def changes_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of the last change of everything below; not of the last reading."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_ino, stat.st_ctime_ns) for path, stat in found.items()}


def test_again_with_nothing_changed_does_nothing(llama: Path, repo: Path) -> None:
    run(llama, repo)
    before = changes_of(repo)
    result = run(llama, repo)
    assert result.status == "unchanged"
    assert changes_of(repo) == before


def test_again_reads_no_weight_when_its_time_stamp_is_old(
    llama: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in llama.iterdir():
        os.utime(path, (1e9, 1e9))
    run(llama, repo)
    from trtbuild.files import digests

    real = digests._sha256

    def no_weights(path: Path, *rest: object) -> str:
        assert path.suffix != ".safetensors", f"{path} is read again"
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(digests, "_sha256", no_weights)
    assert run(llama, repo).status == "unchanged"
    assert check.validate(repo).ok


def edit_config(llama: Path) -> dict[str, object]:
    config = json.loads((llama / "config.json").read_text())
    write_json(llama / "config.json", {**config, "rope_theta": 5000.0})
    return {}


def new_weights(llama: Path) -> dict[str, object]:
    make_llama(llama, sharded=True, seed=1)
    return {}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {"engine": {"max_model_len": 128}},
        lambda _: {"metrics": False},
        edit_config,
        new_weights,
    ],
)
def test_a_change_is_written(
    llama: Path, repo: Path, change: Callable[[Path], dict[str, object]]
) -> None:
    first = lockfile.read(repo) if run(llama, repo) else None
    assert run(llama, repo, **change(llama)).status == "written"
    assert lockfile.read(repo) != first
    assert check.validate(repo, full=True).findings == ()


def test_another_release_is_another_result(llama: Path, repo: Path) -> None:
    run(llama, repo)
    model = ModelRecipe(source=str(llama))
    result = convert(model, repository=repo, triton="25.08")
    assert result.status == "written"
    assert lockfile.read(repo).models["my-llama"].versions["vllm"] == "0.9.2"
    assert {found.rule for found in check.validate(repo).findings} == {"TRT851"}  # advisories


def test_what_was_lost_is_written_again(llama: Path, repo: Path) -> None:
    run(llama, repo)
    (repo / "my-llama/1/weights/tokenizer.json").unlink()
    assert run(llama, repo).status == "written"
    assert check.validate(repo, full=True).findings == ()


def test_the_folder_may_be_rewritten_without_changing_the_repository(
    llama: Path, repo: Path
) -> None:
    big = llama / "model-00001-of-00002.safetensors"
    run(llama, repo)
    before = snapshot(repo)
    big.write_bytes(b"trained on")
    assert snapshot(repo) == before


def test_with_link_the_weights_take_no_space(tmp_path: Path, repo: Path) -> None:
    llama = make_llama(tmp_path / "big", hidden=512, vocab=1024)
    shard = llama / "model.safetensors"
    assert shard.stat().st_size > 1 << 20
    convert(ModelRecipe(source=str(llama)), repository=repo, link=True)
    copy = repo / "big/1/weights/model.safetensors"
    if copy.stat().st_ino != shard.stat().st_ino:
        pytest.skip("this file system clones extents")
    assert (repo / "big/1/weights/config.json").stat().st_nlink == 1


def test_several_models_live_side_by_side(llama: Path, repo: Path) -> None:
    run(llama, repo, name="one")
    run(llama, repo, name="two")
    assert set(lockfile.read(repo).models) == {"one", "two"}
    assert check.validate(repo).ok


def test_a_dry_run_writes_nothing(llama: Path, repo: Path) -> None:
    result = convert(ModelRecipe(source=str(llama)), repository=repo, dry_run=True)
    assert result.status == "planned"
    assert "my-llama/config.pbtxt" in result.files
    assert not repo.exists()


def test_the_name_of_another_source(llama: Path, repo: Path, tmp_path: Path) -> None:
    run(llama, repo, name="bot")
    other = make_llama(tmp_path / "other")
    before = snapshot(repo)
    with pytest.raises(UsageError) as caught:
        run(other, repo, name="bot")
    assert "my-llama (local)" in caught.value.what
    assert "other (local)" in caught.value.what
    assert snapshot(repo) == before
    assert run(other, repo, name="bot", force=True).status == "written"
    assert check.validate(repo).findings == ()


def truncate(name: str) -> Callable[[Path], object]:
    return lambda llama: os.truncate(llama / name, (llama / name).stat().st_size - 10)


SHARD = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("breaker", "args", "code", "said", "fix"),
    [
        (truncate(SHARD), [], 4, "truncated", "fetch"),
        (lambda a: (a / SHARD).unlink(), [], 4, "is missing", "fetch"),
        (lambda a: (a / "tokenizer.json").unlink(), [], 4, "tokenizer", "tokenizer"),
        (lambda a: (a / "config.json").unlink(), [], 4, "config.json is missing", "config.json"),
        (lambda a: (a / "config.json").write_text("{"), [], 4, "not JSON", "fetch"),
        (None, ["--set", "max_modle_len=3"], 3, "'max_model_len'", "--set"),
        (None, ["--set", "max_model_len=long"], 3, "whole number", "--set"),
        (None, ["--set", "nonsense"], 3, "key=value", "key=value"),
        (None, ["--triton", "19.01"], 2, "19.01", "26.07"),
        (None, ["--weights", "hub"], 4, "hub", "--weights copy"),
        (None, ["--name", "a/b"], 2, "'a/b' cannot be a model name", "--name"),
        (None, ["--name", ".."], 2, "'..' cannot be a model name", "--name"),
        (None, ["--name", "a b"], 2, "'a b' cannot be", "--name"),
        (None, ["--name", "a'b\"c"], 2, "cannot be a model name", "--name"),
        (None, ["--name", "x" * 300], 2, "cannot be a model name", "63"),
        (None, ["--name", "x\nname: y"], 2, "cannot be a model name", "--name"),
        (None, ["--backend", "nope"], 2, "nope", "vllm"),
    ],
)
def test_bad_input_says_what_and_how_and_writes_nothing(
    llama: Path,
    repo: Path,
    breaker: Callable[[Path], object] | None,
    args: list[str],
    code: int,
    said: str,
    fix: str,
) -> None:
    if breaker:
        breaker(llama)
    done = trtbuild("convert", llama, "--repo", repo, *args)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert fix in done.stderr
    assert "Traceback" not in done.stderr
    assert not repo.exists()
    assert [path.name for path in repo.parent.iterdir() if "trtbuild" in path.name] == []


def test_a_repository_that_cannot_be_written(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrtbuildError) as caught:
        run(llama, tmp_path / "file" / "repo")
    assert caught.value.exit_code in (2, 5)


def test_what_does_not_validate_is_not_put_in_place(
    llama: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtbuild.check import Finding, Report, Severity

    bad = Finding("TRT999", Severity.ERROR, "m", "m/config.pbtxt", 1, 1, "broken", "", "fix it")
    monkeypatch.setattr(check, "validate", lambda *_args, **_options: Report((bad,)))
    with pytest.raises(RepositoryError) as caught:
        run(llama, repo)
    assert caught.value.details == ("TRT999 m/config.pbtxt: broken",)
    assert not repo.exists()


def test_a_file_that_changes_while_it_is_read(
    llama: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtbuild.repository import write

    clone = write.clone_file

    def grow(source: Path, *args: object, **options: object) -> object:
        if source.suffix == ".safetensors":
            with source.open("ab") as stream:
                stream.write(b"more")
        return clone(source, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(write, "clone_file", grow)
    with pytest.raises(BuildError, match="changed during"):
        run(llama, repo)
    assert not repo.exists()
