"""Examples of rules: small model repositories, said by what differs from a sound one.

The documentation shows them, ``trtbuild rules ID`` runs them, and a contract test proves that the
validator finds each bad one and passes each good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtbuild.check.bases import (
    BASES,
    ENGINE_KEYS,
    FIELDS,
    MODEL_JSON,
    MODEL_PY,
    OPENVINO_XML,
    TOKENIZER,
    Content,
    Link,
    complete,
    engine_config,
    engine_parameters,
    onnx_file,
    safetensors,
)
from trtbuild.check.options import Options

_SHORT = 8  # lines

__all__ = [
    "ENGINE_KEYS",
    "MODEL_JSON",
    "MODEL_PY",
    "OPENVINO_XML",
    "TOKENIZER",
    "Content",
    "Example",
    "Link",
    "engine_config",
    "engine_parameters",
    "example_of",
    "onnx_file",
    "safetensors",
    "write_example",
]


@dataclass(frozen=True, slots=True)
class Example:
    """A repository whose model ``m`` a rule looks at.

    Attributes:
        config: Fields of ``m/config.pbtxt``; what they leave out is the base's.
        files: Further files by path in the repository, such as ``m/1/model.py``; a path that ends
            in ``/`` is a directory. ``m/config.pbtxt`` here is the whole text, nothing is added.
        base: What the example differs from: ``python``; ``vllm``, with weights from the hub;
            ``checkpoint``, the same with weights of its own; ``ensemble``, over the Python models
            ``a`` and ``b``; ``engine``, with a TensorRT-LLM engine; ``onnx``;
            ``openvino``; or empty for nothing at all.
        triton: The release it is judged by; empty: the newest confirmed.
        auto_complete: Whether the server completes configurations.
        gpus: How many GPUs the server has, None when unknown.
        sm: Their compute capability, 0 when unknown.
    """

    config: str = ""
    files: Mapping[str, Content] = field(default_factory=dict)
    base: str = "python"
    triton: str = ""
    auto_complete: bool = False
    gpus: int | None = None
    sm: int = 0

    @property
    def options(self) -> Options:
        """How it is to be looked at."""
        return Options(
            triton=self.triton, auto_complete=self.auto_complete, gpus=self.gpus, sm=self.sm
        )

    def shown(self) -> str:
        """The example as documentation prints it: what it says itself, without its base."""
        flags = [f"--triton {self.triton}"] if self.triton else []
        flags += ["--auto-complete"] if self.auto_complete else []
        flags += [f"--gpus {self.gpus}"] if self.gpus is not None else []
        parts = [self.config.strip()] if self.config else []
        parts += [_file(path, content) for path, content in self.files.items()]
        if not parts:
            parts = [FIELDS.get(self.base, {}).get("ensemble_scheduling", "")]
            own = (item for item in BASES[self.base].items() if item[0].startswith("m/"))
            parts += [_file(path, content, short=True) for path, content in own]
        text = "\n".join(part for part in parts if part) or "# an empty directory"
        return f"# trtbuild validate {' '.join(flags)}\n{text}" if flags else text


def example_of(spec: Example | str | Mapping[str, Content], base: str) -> Example:
    """The example that a rule means by a text (fields of the config) or a mapping (files)."""
    if isinstance(spec, Example):
        return spec
    if isinstance(spec, str):
        return Example(config=spec, base=base)
    return Example(files=spec, base=base)


def write_example(example: Example, root: Path) -> None:
    """Make the example's repository in the directory ``root``, which must exist and be empty."""
    files: dict[str, Content] = dict(BASES[example.base])
    fields = FIELDS.get(example.base, {})
    if fields:
        files["m/config.pbtxt"] = complete(example.config, fields)
    elif example.config:
        files["m/config.pbtxt"] = example.config
    for path, content in example.files.items():
        for known in [known for known in files if known.startswith(path) and path.endswith("/")]:
            del files[known]
        files[path] = content
    for path, content in files.items():
        if content is not None:
            _write(root / path, content, folder=path.endswith("/"))


def _write(path: Path, content: Content, *, folder: bool) -> None:
    if folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.target)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif content is not None:
        path.write_bytes(content() if callable(content) else content)


def _file(path: str, content: Content, *, short: bool = False) -> str:
    if content is None:
        return f"# {path} is missing"
    if isinstance(content, Link):
        return f"# {path} is a link to {content.target}"
    if path.endswith("/"):
        return f"# {path} is an empty directory"
    if not isinstance(content, str):
        return f"# {path} (binary)"
    long = short and content.count("\n") > _SHORT
    return f"# {path}" if long or not content.strip() else f"# {path}\n{content.rstrip()}"
