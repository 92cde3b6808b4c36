"""A tiny adapter in an environment of its own, and a registry with models of it."""

from __future__ import annotations

import tomllib
import venv
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from support.gateways import tokenizer
from support.paths import ROOT

MANIFEST = 'framework = "echo"\ntasks = ["generate", "embed"]\nsummary = "Says what it is told."\n'
ENTRY_POINT = "[trtbuild.backends.v1]\necho-adapter = echo_adapter.backend:Echo\n"
BACKEND = """
import asyncio, os, signal, subprocess, sys, time
from trtbuild_backends.backend import *

print("an import that talks")

class Echo(AbstractBackend):
    sampling = frozenset(("max_tokens", "temperature", "stop"))

    async def load(self):
        print("HTTP/1.1 200 OK")
        if how := self.model.options.get("fail"):
            raise ValueError(how)
        if self.model.options.get("fork"):
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
        self.ill = False
        task, images = (self.model.options.get(key) for key in ("task", "images"))
        labels = ("long", "short") if task == "classify" else ()
        return ModelFacts(
            task or "generate", context_length=64, images=bool(images), labels=labels,
            timestamps=task == "transcribe", boxes=self.model.options.get("boxes", ""),
        )

    async def health(self):
        if self.ill:
            raise RuntimeError("the engine is gone")

    async def score(self, request):
        sizes = [len(document) for _, document in request.pairs]
        return Scores([1 / (1 + size) for size in sizes], [7] * len(sizes))

    async def classify(self, request):
        sizes = [len("".join(one)) for one in request.inputs]
        whole = 1.0 if request.raw_scores else 10.0
        return Classes([[n / whole, (10 - n) / whole] for n in sizes], sizes)

    async def transcribe(self, request):
        if request.audio[:4] != b"RIFF":
            raise RequestError("no recording")
        text = f"{request.language} {request.prompt} {request.translate} {len(request.audio)}"
        return Transcript(text, "en", 1.5, [(0.0, 1.5, text)] * request.timestamps, tokens=4)

    async def embed(self, request):
        return Embedding([float(len(request.input)), 0.5], tokens=1)

    async def generate(self, request):
        print("data: {}")
        asked = request.prompt
        if "die" in asked:
            yield Delta("a")
            await asyncio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in asked:
            yield Delta("a")
            time.sleep(1000)
        if "ill" in asked:
            self.ill = True
            await asyncio.sleep(1000)
        if request.images:
            yield Delta(f"{len(request.images)} image of {len(request.images[0])}: {asked}", "stop")
            return
        if "refuse" in asked:
            raise RequestError("I take no such prompt")
        if "break" in asked:
            raise KeyError("weights")
        if "wait" in asked:
            try:
                while True:
                    yield Delta("a")
                    await asyncio.sleep(0.01)
            finally:
                print("closed")
        if "library" in asked:
            import contradictory

            yield Delta(contradictory.version, "stop")
            return
        words = ["pid ", str(os.getpid()), " ", os.environ.get("SECRET_OF_OURS", "no secret")]
        for word in words[: request.sampling["max_tokens"]]:
            yield Delta(word, tokens=1, prompt_tokens=3)
        yield Delta("", "stop")
"""


@cache
def environment() -> Path:
    """The interpreter of an environment with the adapter, made once."""
    root = Path(mkdtemp(prefix="trtbuild-echo-"))
    venv.create(root, symlinks=True)
    (site,) = root.glob("lib/python*/site-packages")
    install(site)
    return root / "bin" / "python"


def files() -> dict[str, str]:
    """The package of the adapter. It can only be imported where the worker's module is."""
    guard = "import sys\nassert 'trtbuild_backends' in sys.modules, 'imported outside a worker'\n"
    return {
        "echo_adapter/__init__.py": guard,
        "echo_adapter/backend.py": BACKEND,
        "echo_adapter/adapter.toml": MANIFEST,
    }


def install(site: Path) -> None:
    """Write the adapter as pip would have installed it."""
    info = "echo_adapter-1.0.dist-info"
    metadata = "Metadata-Version: 2.4\nName: echo-adapter\nVersion: 1.0\n"
    more = {f"{info}/METADATA": metadata, f"{info}/entry_points.txt": ENTRY_POINT}
    for path, text in {**files(), **more}.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


def write_registry(folder: Path, **models: Any) -> Path:
    """A registry with models of the tiny adapter."""
    common = {"adapter": "echo-adapter", "source": str(tokenizer())}
    value = {
        "models": {name: common | one for name, one in models.items()},
        "adapters": {"echo-adapter": {"python": str(environment())}},
    }
    path = folder / "registry.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def shipped(folder: Path, adapter: str, packages: Path) -> Path:
    """The interpreter of an environment with an adapter of ours, and packages from elsewhere.

    Args:
        folder: Where to make it.
        adapter: A directory of ``adapters/``.
        packages: The packages that it needs, in another environment.
    """
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    source = ROOT / "adapters" / adapter
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    (group,) = project["entry-points"].items()
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    points = "".join(f"{name} = {value}\n" for name, value in group[1].items())
    (info / "entry_points.txt").write_text(f"[{group[0]}]\n{points}")
    others = [one for one in (ROOT / "adapters").iterdir() if one.is_dir()]
    (site / "others.pth").write_text("\n".join(map(str, [*others, packages])))
    return folder / "bin" / "python"
