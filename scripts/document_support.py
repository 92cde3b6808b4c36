"""Write supported-models.md and triton-releases.md in docs/reference.

    python scripts/document_support.py [--check]

The builders themselves are asked, for each architecture and each Triton release, so a page says
what ``trtbuild plan`` would say of a sound checkpoint.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from trtbuild import toolchain
from trtbuild.builder import Case, Discovered, discover
from trtbuild.checkpoint.families import architectures
from trtbuild.modelspec import (
    AttentionGroup,
    KVCache,
    ModelSpec,
    Quantization,
    SourceRef,
    Task,
    TokenizerInfo,
)
from trtbuild.planner import survey
from trtbuild.recipe import DEFAULT_TRITON, model_from_flags
from trtbuild.resources import data_file
from trtbuild.toolchain import Toolchain
from trtbuild_builders.onnx.reasons import TRIED

PAGES = Path(__file__).resolve().parents[1] / "docs" / "reference"
BUILDERS = ("vllm", "trtllm", "trtllm-engine", "onnx", "torch", "vllm-pooling")
ENCODERS = (Task.EMBED, Task.RERANK, Task.CLASSIFY)
TASKS = {
    Task.GENERATE: "Text generation",
    Task.VISION_LANGUAGE: "Vision and language",
    Task.EMBED: "Embedding",
    Task.RERANK: "Reranking",
    Task.CLASSIFY: "Classification",
    Task.IMAGE_CLASSIFY: "Image classification",
    Task.TRANSCRIBE: "Speech to text",
    Task.AUDIO: "Audio",
}
# What checkpoints say in quantization_config, with the settings that decide.
QUANTIZATIONS = {
    "AWQ (AutoAWQ)": ("awq", {"bits": 4}),
    "GPTQ": ("gptq", {"bits": 4}),
    "bitsandbytes": ("bitsandbytes", {}),
    "AutoRound": ("auto-round", {}),
    "FP8": ("fp8", {}),
    "FP8 in blocks of 128x128": ("fp8", {"weight_block_size": "128x128"}),
    "FBGEMM FP8": ("fbgemm_fp8", {}),
    "MXFP4 (gpt-oss)": ("mxfp4", {}),
    "compressed-tensors, 8-bit floats": ("compressed-tensors", {"type": "float", "bits": 8}),
    "compressed-tensors, 4-bit floats": ("compressed-tensors", {"type": "float", "bits": 4}),
    "compressed-tensors, integers": ("compressed-tensors", {"type": "int", "bits": 4}),
    "ModelOpt FP8": ("modelopt", {"quant_algo": "FP8"}),
    "ModelOpt NVFP4": ("modelopt", {"quant_algo": "NVFP4"}),
    "ModelOpt MXFP8": ("modelopt", {"quant_algo": "MXFP8"}),
    "ModelOpt W4A16_AWQ": ("modelopt", {"quant_algo": "W4A16_AWQ"}),
    "ModelOpt W4A8_AWQ": ("modelopt", {"quant_algo": "W4A8_AWQ"}),
    "TorchAO": ("torchao", {}),
    "Quark": ("quark", {}),
}
MODELS_HEAD = """\
# Supported models

Which builder serves which architecture, and since which Triton release. `config.json` names a
checkpoint's architecture under `architectures`; `trtbuild inspect SOURCE` prints it, and
`trtbuild builders SOURCE` gives every builder's answer for one checkpoint.

`scripts/document_support.py` writes this page by asking the builders about a sound checkpoint of
each architecture, for Triton {oldest} to {newest}. A single checkpoint may still be refused: for
its code, its quantization or a broken file.

- `26.01` means supported since Triton 26.01, `24.06–25.07` that a later release dropped it.
- *untried* means that the export is the same for all, and that this one was not compared with
  transformers here: `convert` compares it, and writes nothing when the two differ.
- *wrapped* means that vLLM runs transformers' own code of the model, which is slower.
- `vllm` and `vllm-pooling` serve with vLLM (`vllm-pooling` also embeds with what `vllm` embeds
  with), `trtllm` with the LLM API of TensorRT-LLM, `trtllm-engine` with a
  compiled TensorRT engine (up to Triton {engines}).
- `torch` runs transformers' own code, also of text models that no other builder takes; `convert`
  compares each checkpoint with the reference.
- Triton {tested} is the default release. Newer ones are listed as far as their contents are public.
"""
QUANTIZED_HEAD = """\
## Quantized checkpoints

Since which Triton release each builder loads them. `GPU` is the oldest compute capability that has
kernels in TensorRT-LLM; for vLLM, `trtbuild plan --gpu NAME` checks it. `trtllm-engine` compiles
from unquantized checkpoints only. GGUF files are expanded to plain weights first
([sources](sources.md#gguf-files-and-the-sample)).

| Checkpoint | vllm | trtllm | GPU |
|---|---|---|---|
"""
REFUSED_HEAD = """\
## Refused

transformers has these architectures, and vLLM could wrap their code, but they were tried (or their
code was read) and would not work:

| Why | Architectures |
|---|---|
"""
RELEASES_HEAD = """\
# Triton releases

What NVIDIA's images of each release carry. `scripts/document_support.py` writes this page from
`src/trtbuild/data/toolchains.toml`, whose source is the server's
[compatibility matrix](https://github.com/triton-inference-server/server/blob/main/docs/introduction/compatibility.md);
`trtbuild toolchains` prints the same. `?` marks what that matrix does not confirm yet.

*Driver* is the GPU driver that belongs to the image's CUDA; see
[a GPU host](../getting-started/gpu-host.md#the-driver) for what an older one can run. *GB* is the
image's size as the matrix gives it: apparently unpacked up to 25.03, and compressed (what is
downloaded) from 25.04 on.

| Triton | server | vLLM | CUDA | driver | GB | TensorRT-LLM | CUDA | driver | GB | engines |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def models_page() -> str:
    """The whole page of models."""
    rows = toolchain.releases()
    head = MODELS_HEAD.format(
        oldest=rows[-1].triton,
        newest=rows[0].triton,
        tested=DEFAULT_TRITON,
        engines=next(row.triton for row in rows if row.engine_flow),
    )
    parts = [head, *_architectures(), QUANTIZED_HEAD + "".join(_quantized())]
    return "\n".join([*parts, REFUSED_HEAD + "".join(_refused())])


def releases_page() -> str:
    """The whole page of releases."""
    return RELEASES_HEAD + "".join(_release(row) for row in toolchain.releases())


def _release(row: Toolchain) -> str:
    def cell(name: str) -> str:
        value = getattr(row, name)
        text = value if isinstance(value, str) else f"{value:g}"
        return (text if value else "–") + (" ?" if name in row.unconfirmed else "")

    names = ("triton", "server_version", "vllm", "vllm_cuda", "vllm_driver", "vllm_image_gb")
    names += ("trtllm", "cuda", "driver", "image_gb")
    engines = "compiled" if row.engine_flow else "–"
    return f"| {' | '.join(map(cell, names))} | {engines} |\n"


def _architectures() -> Iterator[str]:
    for task, title in TASKS.items():
        lines, why = [], ""
        for name in names_of(task):
            reasons = reasons_against(sound(name, task))
            if line := architecture_row(name, reasons, columns(task)):
                lines.append(line)
            why = why or "".join(reasons["vllm"][-1][:1])
        yield f"## {title}\n"
        if lines:
            titles = ("Architecture", *columns(task))
            yield f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|\n{''.join(lines)}"
        else:
            yield f"Recognised and not served: {why}.\n"


def names_of(task: Task) -> list[str]:
    """Every architecture of a task that trtbuild recognises, whoever serves it."""
    known = toolchain.transformers_architectures() | {
        name: own.value for name, own in architectures().items()
    }
    return sorted((name for name, own in known.items() if own == task.value), key=str.lower)


def columns(task: Task) -> tuple[str, ...]:
    """The builders that serve a task."""
    if task is Task.TRANSCRIBE:
        return ("torch",)
    if task is Task.IMAGE_CLASSIFY:
        return ("onnx", "torch")
    if task in (Task.RERANK, Task.CLASSIFY):
        return ("vllm-pooling", "onnx")
    return ("vllm", "onnx") if task in ENCODERS else BUILDERS[:3]


def architecture_row(
    name: str, reasons: Mapping[str, Sequence[Sequence[str]]], shown: Sequence[str] = BUILDERS
) -> str:
    """The line of an architecture; empty when no builder takes it in any release."""
    cells = [_span(reasons[builder]) for builder in shown]
    if shown[0] == "vllm" and cells[0] and not _listed(name):
        cells[0] += ", wrapped"
    if "onnx" in shown and name not in TRIED and cells[shown.index("onnx")]:
        cells[shown.index("onnx")] += ", untried"
    return _row(name, cells) if any(cells) else ""


def reasons_against(spec: ModelSpec) -> dict[str, list[Sequence[str]]]:
    """By builder: the reasons against a checkpoint for each release, oldest first."""
    recipe = model_from_flags(source="org/name")
    found: dict[str, list[Sequence[str]]] = {builder: [] for builder in BUILDERS}
    for row in reversed(toolchain.releases()):
        for candidate in survey(Case(spec, recipe, row), _builders()):
            found[candidate.found.name].append(candidate.reasons)
    return found


@cache
def _builders() -> list[Discovered]:
    return [one for one in discover() if one.name in BUILDERS]


def _span(reasons: Sequence[Sequence[str]]) -> str:
    """``26.01``, ``24.06–25.07``, several of them, or nothing."""
    releases = [row.triton for row in reversed(toolchain.releases())]
    spans = []
    for able, group in groupby(zip(releases, reasons, strict=True), key=lambda pair: not pair[1]):
        members = [release for release, _ in group]
        if able:
            last = "" if members[-1] == releases[-1] else f"–{members[-1]}"
            spans.append(members[0] + last if len(members) > 1 or not last else members[0])
    return ", ".join(spans)


def _listed(name: str) -> bool:
    """Whether some vLLM has code of its own for an architecture."""
    rows = toolchain.releases()
    return any(toolchain.vllm_release(row.vllm).tasks_of(name) for row in rows if row.vllm)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cell or '–' for cell in cells)} |\n"


def sound(name: str, task: Task, quantization: Quantization | None = None) -> ModelSpec:
    """A sound checkpoint of an architecture: small, with a tokenizer and without code."""
    return ModelSpec(
        source=SourceRef("hub", "org/name", "main", "0" * 40),
        architecture=name,
        model_type=_types().get(name, "llama"),
        task=task,
        parameters=10**9,
        bytes_by_dtype={"BF16": 2 * 10**9},
        dtype="bfloat16",
        quantization=quantization,
        num_layers=16,
        hidden_size=2048,
        num_attention_heads=16,
        num_kv_heads=16,
        head_size=128,
        context_length=8192,
        vocab_size=32000,
        bos_token_id=1,
        eos_token_ids=(2,),
        pad_token_id=None,
        kv_cache=KVCache("MHA", (AttentionGroup("full", 16, 4096),)),
        tokenizer=TokenizerInfo("fast", vocab_size=32000),
        remote_code=False,
    )


@cache
def _types() -> dict[str, str]:
    table = json.loads(data_file("transformers.json").read_text(encoding="utf-8"))
    return {name: row[1] for name, row in table["architectures"].items()}


def _quantized() -> Iterator[str]:
    for title, (method, detail) in QUANTIZATIONS.items():
        spec = sound("LlamaForCausalLM", Task.GENERATE, Quantization(method, detail))
        reasons = reasons_against(spec)
        cells = [_span(reasons[builder]) for builder in BUILDERS[:2]]
        sm = min(toolchain.trtllm_route(method, detail).sm, default=0)
        cells.append(f"{sm // 10}.{sm % 10}" if sm and cells[1] else "")
        yield _row(title, cells)


def _refused() -> Iterator[str]:
    newest = next(row for row in toolchain.releases() if row.vllm)
    reading = toolchain.vllm_reading(newest.vllm)
    own = toolchain.vllm_release(newest.vllm)
    by_reason: dict[str, list[str]] = {}
    for name in sorted(toolchain.transformers_architectures(), key=str.lower):
        if (why := reading.failure(name)) and not own.tasks_of(name):
            by_reason.setdefault(why, []).append(name)
    for why, names in sorted(by_reason.items()):
        yield f"| {why} | {', '.join(names)} |\n"


def main() -> int:
    """Write the pages, or compare them."""
    pages = {"supported-models.md": models_page(), "triton-releases.md": releases_page()}
    old = [name for name, text in pages.items() if _read(PAGES / name) != text]
    if "--check" in sys.argv[1:]:
        for name in old:
            print(f"docs/reference/{name} is out of date; run: python scripts/document_support.py")
        return int(bool(old))
    for name in old:
        (PAGES / name).write_text(pages[name], encoding="utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
