"""The hub, played by a server on this machine that fails on command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from support.checkpoints import make_headers_only, make_llama, write_json
from support.fake_hub import COMMIT, OLDER, Hub, fake_hub
from support.ports import refusing
from trtbuild.checkpoint import hub_download, inspect, materialize, open_checkpoint
from trtbuild.errors import BuildError, ExitCode, TrtbuildError, UnsupportedError, UsageError


class Told:
    """Remembers what progress was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.done: list[tuple[int, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done: int, total: int, unit: str = "B") -> None:
        self.done.append((done, total))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = make_llama(tmp_path / "served", sharded=True, layers=4, hidden=256, vocab=2048)
    (folder / "modeling_evil.py").write_text("raise SystemExit('executed')")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("# hello")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fake_hub(org__tiny=folder) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def failing(source: str = "org/tiny", *, code: ExitCode, said: str, fix: str) -> TrtbuildError:
    with pytest.raises(TrtbuildError) as caught:
        materialize(open_checkpoint(source))
    assert said in caught.value.what, caught.value.what
    assert fix in caught.value.fix, caught.value.fix
    assert caught.value.exit_code == code
    return caught.value


def test_inspecting_fetches_headers_only(hub: Hub) -> None:
    opened = open_checkpoint("org/tiny")
    spec = inspect(opened)
    assert spec.source.commit == COMMIT
    assert (spec.source.text, spec.source.revision) == ("org/tiny", "")
    assert spec.parameters > 2_000_000
    # The server offers the whole file to its socket only until the client has its 64 KiB.
    assert hub.bytes_sent < spec.weight_bytes / 4
    assert all(r.startswith("bytes=0-") for r in hub.gets(".safetensors"))
    assert len(hub.gets(".safetensors")) == 2
    assert not hub.gets(".py")
    assert not hub.gets(".bin")
    assert not hub.gets(".md")
    assert all(f.path is None for f in opened.files if f.name.endswith(".safetensors"))
    assert all(f.sha256 for f in opened.files if f.name.endswith(".safetensors"))


def test_a_server_without_ranges_is_cut_off(hub: Hub) -> None:
    hub.ranges = False
    assert inspect(open_checkpoint("org/tiny")).num_layers == 4


def test_a_70b_is_described_within_kilobytes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_headers_only(tmp_path / "big")
    from support.fake_hub import Repo

    hub.repos["org/big"] = Repo(tmp_path / "big")
    assert inspect(open_checkpoint("org/big")).parameters == 70_553_706_496
    assert hub.bytes_sent < 5_000_000


def test_materializing_downloads_everything_checked(hub: Hub, tmp_path: Path) -> None:
    told = Told()
    files = materialize(open_checkpoint("org/tiny@v1"), told)
    for file in files:
        assert file.path is not None
        assert file.path.read_bytes() == (tmp_path / "served" / file.name).read_bytes()
    assert "modeling_evil.py" not in {file.name for file in files}
    assert told.done[-1][0] == told.done[-1][1]
    assert any(0 < done < total for done, total in told.done)


def test_code_comes_only_with_trust(hub: Hub) -> None:
    files = materialize(open_checkpoint("org/tiny", trust_remote_code=True))
    assert "modeling_evil.py" in {file.name for file in files}


def test_a_broken_download_resumes(hub: Hub) -> None:
    opened = open_checkpoint("org/tiny")
    hub.cut_after = max(file.size for file in opened.files) // 2
    hub.log.clear()
    files = materialize(opened)
    assert all(file.path is not None for file in files)
    asked = [int(r[6:-1]) for r in hub.gets(".safetensors")]
    assert sorted(asked)[:2] == [0, 0]
    assert asked[-1] > 1_000_000, "the second half was asked for, not the whole file again"


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_downloaded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_download, "_TIMEOUT_S", 600)
    hub.pause_seconds = 60
    opened = open_checkpoint("org/tiny")

    class Interrupting(Told):
        def advance(self, done: int, total: int, unit: str = "B") -> None:
            if done > total // 4:
                raise KeyboardInterrupt

    hub.pause_after = max(file.size for file in opened.files) // 2
    with pytest.raises(KeyboardInterrupt):
        materialize(opened, Interrupting())
    assert hub.pausing, "it did not wait for the silent server"
    kept = list((tmp_path / "hub").rglob("*.trtbuild.incomplete"))
    assert kept
    hub.pause_after = 0
    hub.log.clear()
    files = materialize(opened)
    assert all(file.path is not None and file.path.stat().st_size == file.size for file in files)
    assert max(int(r[6:-1]) for r in hub.gets(".safetensors")) > 1_000_000
    assert not list((tmp_path / "hub").rglob("*.trtbuild.incomplete"))


def test_a_second_time_fetches_nothing(hub: Hub) -> None:
    materialize(open_checkpoint("org/tiny"))
    hub.log.clear()
    materialize(open_checkpoint("org/tiny"))
    assert not hub.gets(".safetensors")
    hub.log.clear()
    materialize(open_checkpoint(f"org/tiny@{COMMIT}"))  # a commit never changes
    assert hub.log == []


def test_offline_with_a_warm_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    materialize(open_checkpoint("org/tiny"))
    hub.log.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for source in ("org/tiny", f"org/tiny@{COMMIT}"):
        opened = open_checkpoint(source)
        assert inspect(opened).source.commit == COMMIT
        assert all(file.path for file in materialize(opened))
    assert hub.log == []


def test_offline_without_a_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    failing(code=ExitCode.BUILD, said="is not in the Hugging Face cache", fix="unset HF_HUB_OFF")
    assert hub.log == []


def test_offline_with_a_part(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect(open_checkpoint("org/tiny"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = failing(f"org/tiny@{COMMIT}", code=ExitCode.BUILD, said="only a part", fix="connect")
    assert any("missing" in detail for detail in error.details)


def test_a_dead_network_uses_the_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    materialize(open_checkpoint("org/tiny@main"))
    told = Told()
    with refusing() as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        opened = open_checkpoint("org/tiny@main", progress=told)
    assert inspect(opened).source.commit == COMMIT
    assert any("using the cached" in step for step in told.steps)


def test_no_network_and_no_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing() as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        failing(code=ExitCode.BUILD, said="the hub cannot be reached", fix="sample:smollm2")


def test_no_such_repository(hub: Hub) -> None:
    failing("org/nobody", code=ExitCode.USAGE, said="the hub knows no org/nobody", fix="HF_TOKEN")


@pytest.mark.parametrize("revision", ["v9", "c" * 40])
def test_no_such_revision(hub: Hub, revision: str) -> None:
    error = failing(
        f"org/tiny@{revision}", code=ExitCode.USAGE, said="has no revision", fix="branches"
    )
    assert revision in error.what


def test_gated(hub: Hub) -> None:
    hub.repos["org/tiny"].gated = True
    error = failing(code=ExitCode.BUILD, said="is gated", fix="huggingface.co/org/tiny")
    assert "hf auth login" in error.fix


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "refuses access"), (429, "too many requests"), (500, "fails with HTTP 500")],
)
def test_bad_replies(hub: Hub, status: int, said: str) -> None:
    hub.status = status
    failing(code=ExitCode.BUILD, said=said, fix="")


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "hf_" + "s3cret" * 5
    monkeypatch.setenv("HF_TOKEN", secret)
    opened = open_checkpoint("org/tiny")
    assert secret in hub.tokens
    assert secret not in repr(opened) + repr(inspect(opened))
    hub.repos["org/tiny"].gated = True
    with pytest.raises(BuildError) as caught:
        materialize(opened)
    assert secret not in json.dumps(caught.value.as_dict())
    assert secret not in "".join(capfd.readouterr())


def test_pickles_only(hub: Hub, tmp_path: Path) -> None:
    for shard in (tmp_path / "served").glob("*.safetensors*"):
        shard.unlink()
    with pytest.raises(UnsupportedError, match="pickles only") as caught:
        open_checkpoint("org/tiny")
    assert "--allow-pickle" in caught.value.fix
    assert not hub.gets(".bin")
    files = materialize(open_checkpoint("org/tiny", allow_pickle=True))
    assert "pytorch_model.bin" in {file.name for file in files}


def test_a_damaged_download_is_not_kept(hub: Hub) -> None:
    hub.repos["org/tiny"].lie_about_digest = True
    error = failing(code=ExitCode.BUILD, said="was damaged", fix="run the same command again")
    assert error.where.endswith(".safetensors")
    hub.repos["org/tiny"].lie_about_digest = False
    assert all(file.path for file in materialize(open_checkpoint("org/tiny")))


def test_a_moved_branch_is_a_new_commit(hub: Hub, tmp_path: Path) -> None:
    first = open_checkpoint("org/tiny")
    hub.repos["org/tiny"].refs = {"main": OLDER}
    write_json(tmp_path / "served" / "generation_config.json", {"eos_token_id": 7})
    second = open_checkpoint("org/tiny")
    assert (first.ref.commit, second.ref.commit) == (COMMIT, OLDER)
    assert inspect(second).eos_token_ids[0] == 7


def test_dtype_is_not_for_the_hub(hub: Hub) -> None:
    with pytest.raises(UsageError, match="keeps its own"):
        open_checkpoint("org/tiny", dtype="float32")
    assert hub.log == []
