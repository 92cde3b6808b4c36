"""Environments of adapters: made from locks with hashes, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.adapters_made import ENTRY_POINT, files, install
from support.command_line import trtbuild
from support.gateways import Served, run_as_served, serving, tokenizer
from support.wheels_made import locked, write_wheel
from trtbuild.errors import TrtbuildError
from trtbuild_backends.environments import environment_for, is_made
from trtbuild_backends.manifest import manifest, manifests
from trtbuild_backends.registry import AdapterSettings, read_registry
from trtbuild_backends.worker import environment
from trtbuild_gateway.adapters import adapted
from trtbuild_gateway.settings import settings_of
from trtbuild_gateway.upstream.catalog import Catalog


def lock_in(folder: Path, text: str) -> dict[str, str]:
    """A lock and its digest, as the registry has them."""
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
    path.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"lock": str(path), "sha256": digest, "wheels": str(folder)}


def settings(value: dict[str, str]) -> AdapterSettings:
    return AdapterSettings(Path(value["lock"]), value["sha256"], Path(value["wheels"]))


def wheels(folder: Path, version: str) -> list[Path]:
    """An adapter, and the version of a library without which it does not work."""
    library = {"contradictory.py": f"version = '{version}'\n"}
    name = f"echo{version}-adapter"
    entry = ENTRY_POINT.replace("echo-adapter", name)
    needs = f"contradictory=={version}"
    return [
        write_wheel(folder, name, "1.0", files(), requires=needs, entry_points=entry),
        write_wheel(folder, "contradictory", version, library),
    ]


async def until_installing(served: Served) -> None:
    async with asyncio.timeout(60):
        while True:
            states = (await served.control.get("/v1/model/list")).json()["data"]
            if any("installing 2 packages" in state.get("reason", "") for state in states):
                return
            await asyncio.sleep(0.01)


def test_a_worker_gets_no_secret_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = (
        "VLLM_API_KEY", "NVIDIA_API_KEY", "SGLANG_ADMIN_API_KEY", "HF_ACCESS_TOKEN",
        "HF_OAUTH_CLIENT_SECRET", "VLLM_DB_PASSWORD", "HF_TOKEN",
    )  # fmt: skip
    for name in (*secrets, "HUGGING_FACE_HUB_TOKEN", "VLLM_LOGGING_LEVEL", "HF_HOME"):
        monkeypatch.setenv(name, "x")
    found = environment({"MINE_TOKEN": "y"}, token=False)
    assert not {*secrets, "HUGGING_FACE_HUB_TOKEN"} & found.keys()
    assert {"VLLM_LOGGING_LEVEL", "HF_HOME", "MINE_TOKEN", "PATH"} <= found.keys()
    assert found["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    given = environment({}, token=True)
    assert {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} <= given.keys()
    assert not {*secrets[:-1], "HF_HUB_DISABLE_IMPLICIT_TOKEN"} & given.keys()


@pytest.mark.slow
def test_adapters_with_contradictory_requirements_live_side_by_side(tmp_path: Path) -> None:
    adapters: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for version in ("1", "2"):
        adapter = f"echo{version}-adapter"
        adapters[adapter] = lock_in(tmp_path, locked(*wheels(tmp_path, version)))
        models[f"m{version}"] = {"adapter": adapter, "source": str(tokenizer())}
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.safe_dump({"models": models, "adapters": adapters}))

    async def test() -> None:
        async with serving("", registry=str(path)) as served:
            try:
                loads = [
                    served.control.post("/v1/model/load", json={"model": model, "warm_up": False})
                    for model in models
                ]
                loading = asyncio.gather(*loads)
                await until_installing(served)
                for answer in await loading:
                    assert answer.status_code == 200, answer.text
                for version in ("1", "2"):
                    answer = await served.post(
                        "/v1/chat/completions",
                        model=f"m{version}",
                        messages=[{"role": "user", "content": "library"}],
                    )
                    assert answer.json()["choices"][0]["message"]["content"] == version
            finally:
                await served.gateway.catalog.close()

    run_as_served(test())

    # What is made is found again, also where nothing may be installed; a damaged one is not.
    (adapter, one), _ = adapters.items()
    found = environment_for(adapter, settings(one), install=False)
    root = found.python.parents[1]
    (root / "ready.json").unlink()
    assert not is_made("a", settings(one))
    with pytest.raises(TrtbuildError, match="has not been made"):
        environment_for(adapter, settings(one), install=False)


@pytest.mark.slow
def test_what_does_not_verify_is_not_installed(tmp_path: Path) -> None:
    """Only the lock that is allowed, only the packages that it names, and each with its hash."""
    library = write_wheel(tmp_path, "contradictory", "1", {"contradictory.py": ""})
    right = locked(library)
    wrong = right[:-9] + "00000000\n"
    with pytest.raises(TrtbuildError, match="not the one that the lock names"):
        environment_for("a", settings(lock_in(tmp_path, wrong)), install=True)
    assert not is_made("a", settings(lock_in(tmp_path, wrong)))

    changed = settings(lock_in(tmp_path, right))
    assert changed.lock is not None
    changed.lock.write_text(right + "more==1\n")
    with pytest.raises(TrtbuildError, match="not the one that the registry allows"):
        environment_for("a", changed, install=True)
    changed.lock.unlink()
    with pytest.raises(TrtbuildError, match="cannot be read"):
        environment_for("a", changed, install=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("adapters: {a: {lock: l.txt}}", "no 'sha256'"),
        ("adapters: {a: {}}", "either 'lock' or 'python'"),
        ("models: {a/b: {adapter: a, source: s}}", "cannot be the name"),
        ("models: {m: {adapter: a}}", "source"),
        ("models: {m: {adapter: a, source: s, pip: numpy}}", "pip"),
        ("- a", "must be a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_registry_that_is_wrong_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises(TrtbuildError, match=words):
        read_registry(path)


@pytest.mark.slow
def test_the_command_lists_and_installs(tmp_path: Path) -> None:
    adapters = {"a": lock_in(tmp_path, locked(*wheels(tmp_path, "3")))}
    models = {"m": {"adapter": "a", "source": "s"}}
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.safe_dump({"models": models, "adapters": adapters}))

    def listed() -> Any:
        done = trtbuild("adapters", "list", "-f", str(path), "--json")
        assert done.returncode == 0, done.stderr
        (row,) = (row for row in json.loads(done.stdout) if row["name"] == "a")
        return row

    assert (listed()["installed"], listed()["models"]) == (False, ["m"])
    for _ in range(2):
        made = trtbuild("adapters", "install", "a", "-f", str(path), "--json")
        assert made.returncode == 0, made.stderr
        assert Path(json.loads(made.stdout)[0]["python"]).exists()
    assert listed()["installed"]
    assert "yes" in trtbuild("adapters", "list", "-f", str(path)).stdout
    root = Path(json.loads(made.stdout)[0]["python"]).parents[1]
    newer = tmp_path / "newer.yaml"
    newer.write_text(yaml.safe_dump({"adapters": {"a": lock_in(tmp_path, "# nothing\n")}}))

    def pruned(*args: str) -> Any:
        done = trtbuild("adapters", "prune", *args, "--json")
        assert done.returncode == 0, done.stderr
        return [
            (Path(row["path"]), row["in_use"], row["removed"]) for row in json.loads(done.stdout)
        ]

    assert pruned("-f", str(path), "-f", str(newer)) == []
    assert pruned("-f", str(newer), "--dry-run") == [(root, False, False)]
    with subprocess.Popen([root / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE):
        assert pruned("-f", str(newer)) == [(root, True, False)]
    assert listed()["installed"]
    assert pruned("-f", str(newer)) == [(root, False, True)]
    assert not root.exists() and not listed()["installed"]
    wrong = {"adapters": {"a": lock_in(tmp_path, "# other\n") | {"sha256": "0" * 64}}}
    newer.write_text(yaml.safe_dump(wrong))
    refused = trtbuild("adapters", "prune", "-f", str(newer))
    assert (refused.returncode, "not the one that the registry allows" in refused.stderr) == (
        5,
        True,
    )

    unknown = trtbuild("adapters", "install", "b", "-f", str(path))
    assert (unknown.returncode, "has no adapter 'b'; there is: a" in unknown.stderr) == (2, True)


@pytest.mark.parametrize(
    ("manifest_text", "words"),
    [(None, "No such file"), ("framework = 1", "framework"), ("a = [", "Invalid")],
)
def test_a_manifest_that_is_wrong_is_named(
    tmp_path: Path, manifest_text: str | None, words: str
) -> None:
    install(tmp_path)
    file = tmp_path / "echo_adapter" / "adapter.toml"
    file.unlink()
    if manifest_text is not None:
        file.write_text(manifest_text)
    with pytest.raises(TrtbuildError, match=words):
        manifest("echo-adapter", [str(tmp_path)])
    assert manifests([str(tmp_path)]) == {}


def test_a_model_is_in_one_file_only(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("models: {m: {adapter: a, source: s}}")
    both = settings_of({"registry": str(path), "models": {"m": {}}})
    with pytest.raises(TrtbuildError, match="in the gateway's settings and in the registry"):
        adapted(both)
    alone = adapted(settings_of({"registry": str(path)}))
    with pytest.raises(TrtbuildError, match="cannot be added while the gateway runs"):
        Catalog(alone)
    with pytest.raises(TrtbuildError, match="cannot be read"):
        adapted(settings_of({"registry": str(tmp_path / "none.yaml")}))
