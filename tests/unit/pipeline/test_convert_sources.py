"""What a conversion takes besides a folder: adapters, and the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from support.checkpoints import make_llama, write_json, write_sparse
from support.conversions import run
from support.fake_hub import COMMIT, Hub, fake_hub
from trtbuild import check, lockfile
from trtbuild.errors import TrtbuildError, UsageError


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "my-llama", sharded=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


def adapter(folder: Path, **config: object) -> Path:
    sound = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    write_json(folder / "adapter_config.json", {**sound, **config})
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    shapes = {name.format("A"): (8, 64), name.format("B"): (64, 8)}
    write_sparse(folder / "adapter_model.safetensors", shapes, "F32")
    (folder / "training_args.bin").write_bytes(b"pickle")
    return folder


def test_adapters_are_placed_and_named(llama: Path, repo: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora")
    run(llama, repo, adapters={"french": str(lora)})
    placed = repo / "my-llama/1/adapters/french"
    assert sorted(path.name for path in placed.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((repo / "my-llama/1/multi_lora.json").read_text()) == {
        "french": "/models/my-llama/1/adapters/french"
    }
    assert lockfile.read(repo).models["my-llama"].adapters["french"].text == "lora"
    assert check.validate(repo).findings == ()


@pytest.mark.parametrize(
    ("breaker", "said"),
    [
        (lambda a: (a / "adapter_config.json").unlink(), "adapter_config.json"),
        (lambda a: (a / "adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
        (lambda a: (a / "adapter_config.json").write_text("{"), "adapter_config.json"),
        (lambda a: adapter(a, peft_type="PREFIX_TUNING"), "'PREFIX_TUNING'"),
    ],
)
def test_what_is_no_adapter(
    llama: Path, repo: Path, tmp_path: Path, breaker: Callable[[Path], object], said: str
) -> None:
    lora = adapter(tmp_path / "lora")
    breaker(lora)
    with pytest.raises(TrtbuildError) as caught:
        run(llama, repo, adapters={"french": str(lora)})
    text = " ".join((caught.value.what, caught.value.where, *caught.value.details))
    assert said in text
    assert caught.value.exit_code == 4
    assert not repo.exists()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = make_llama(tmp_path / "served", hidden=512, vocab=1024)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fake_hub(org__tiny=folder, org__lora=adapter(tmp_path / "lora")) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_a_hub_model_shares_its_weights_with_the_cache(hub: Hub, repo: Path) -> None:
    result = run("org/tiny", repo)
    assert result.source.commit == COMMIT
    shard = repo / "tiny/1/weights/model.safetensors"
    assert not shard.is_symlink()
    blobs = [path.stat().st_ino for path in (repo.parent / "hub").rglob("blobs/*")]
    assert len(blobs) > 3
    placed = {path.name for path in shard.parent.iterdir() if path.stat().st_ino in blobs}
    assert placed <= {"model.safetensors"}
    assert check.validate(repo, full=True).findings == ()
    locked = lockfile.read(repo).models["tiny"]
    assert (locked.source.text, locked.source.commit) == ("org/tiny", COMMIT)


def test_an_unchanged_hub_model_is_not_downloaded_again(hub: Hub, repo: Path) -> None:
    run("org/tiny", repo)
    sent = hub.bytes_sent
    assert run("org/tiny", repo).status == "unchanged"
    assert hub.bytes_sent - sent < 200_000


def test_weights_may_stay_on_the_hub(hub: Hub, repo: Path) -> None:
    run("org/tiny", repo, weights="hub")
    engine = json.loads((repo / "tiny/1/model.json").read_text())
    assert (engine["model"], engine["revision"]) == ("org/tiny", COMMIT)
    assert sorted(path.name for path in (repo / "tiny/1").iterdir()) == ["model.json"]
    assert check.validate(repo).findings == ()
    assert hub.gets("model.safetensors") != []
    assert all(asked for asked in hub.gets("model.safetensors"))  # ranges only


def test_an_adapter_of_the_hub(hub: Hub, llama: Path, repo: Path) -> None:
    run(llama, repo, adapters={"french": "org/lora"})
    assert (repo / "my-llama/1/adapters/french/adapter_model.safetensors").is_file()
    assert lockfile.read(repo).models["my-llama"].adapters["french"].commit == COMMIT
    assert hub.gets("training_args.bin") == []


def test_an_adapter_that_the_hub_does_not_know(hub: Hub, llama: Path, repo: Path) -> None:
    with pytest.raises(UsageError, match="org/nowhere"):
        run(llama, repo, adapters={"french": "org/nowhere"})
    assert not repo.exists()
