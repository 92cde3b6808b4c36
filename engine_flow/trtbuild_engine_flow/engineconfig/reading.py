"""Read the ``config.json`` of a TensorRT-LLM engine: what it was built for.

It has three parts: ``version``, ``pretrained_config`` (that of the checkpoint) and
``build_config``. Releases have moved keys, so each key is looked for in every place. The GPU
architecture is not in it; ``manifest.json`` of our own builds records that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from trtbuild.errors import RepositoryError

CONFIG = "config.json"
_RANK = re.compile(r"rank(0|[1-9]\d*)\.engine")
_MAX_BYTES = 16 << 20

# Source: tensorrt_llm/models/modeling_utils.py, SpeculativeDecodingMode (flags from 1 on).
_SPECULATIVE = {
    1: "", 2: "draft_tokens_external", 4: "medusa", 8: "lookahead_decoding",
    16: "explicit_draft_tokens", 32: "eagle",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine was built for. Lengths are in tokens; 0 and "" are unknown.

    Attributes:
        version: The TensorRT-LLM that built it.
        dtype, logits_dtype: ``float16``, ``bfloat16``, ``float32``.
        tp, pp, cp: Tensor, pipeline and context parallel sizes.
        speculative: The mode of speculative decoding it was built for, "" for none.
        quantization: The algorithm, such as ``FP8``, "" for none.
        lora: Whether LoRA adapters can be given with a request.
        document: The parsed file.
    """

    version: str
    architecture: str = ""
    dtype: str = "float16"
    logits_dtype: str = "float32"
    quantization: str = ""
    vocab_size: int = 0
    num_layers: int = 0
    tp: int = 1
    pp: int = 1
    cp: int = 1
    max_batch_size: int = 0
    max_input_len: int = 0
    max_seq_len: int = 0
    max_num_tokens: int = 0
    max_beam_width: int = 1
    max_draft_len: int = 0
    prompt_table: int = 0
    paged_kv_cache: bool = True
    remove_input_padding: bool = True
    paged_context_fmha: bool = False
    gather_context_logits: bool = False
    gather_generation_logits: bool = False
    weight_streaming: bool = False
    lora: bool = False
    speculative: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def world(self) -> int:
        """Ranks: processes, GPUs and engine files."""
        return self.tp * self.pp * self.cp


def read(folder: Path) -> EngineConfig:
    """The ``config.json`` of an engine directory.

    Raises:
        RepositoryError: It is missing, empty, not JSON, or lacks what every engine's has.
    """
    path = folder / CONFIG
    try:
        if not path.is_file() and path.exists():
            raise _unusable(path, "it is not a file")
        if path.stat().st_size > _MAX_BYTES:
            raise _unusable(path, f"it has {path.stat().st_size:,} bytes")
        content = path.read_bytes()
    except FileNotFoundError:
        raise _unusable(path, "there is no such file") from None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    return parse(content, path)


def parse(content: bytes, path: Path) -> EngineConfig:
    """From the bytes of a ``config.json``; ``path`` is for the error's sake.

    Raises:
        RepositoryError: As :func:`read`.
    """
    if not content.strip():
        raise _unusable(path, "it is empty")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unusable(path, f"it is not JSON: {error}") from None
    try:
        return of_document(document)
    except ValueError as error:
        raise _unusable(path, str(error)) from None


def of_document(document: Any) -> EngineConfig:
    """From the parsed ``config.json``; ValueError with a sentence when it is none."""
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    lacking = [
        key
        for key in ("pretrained_config", "build_config")
        if not isinstance(document.get(key), dict)
    ]
    if lacking:
        raise ValueError(f"it has no {' and no '.join(lacking)}: it is not an engine's config.json")
    model, build = _Fields(document["pretrained_config"]), _Fields(document["build_config"])
    mapping, plugins = model.part("mapping"), build.part("plugin_config")
    tp, pp, cp = _parallel_sizes(mapping)
    return EngineConfig(
        version=str(document.get("version") or ""),
        architecture=model.text("architecture"),
        dtype=model.text("dtype") or "float16",
        logits_dtype=model.text("logits_dtype") or "float32",
        quantization=model.part("quantization").text("quant_algo"),
        vocab_size=model.number("vocab_size"),
        num_layers=model.number("num_hidden_layers"),
        tp=tp,
        pp=pp,
        cp=cp,
        max_batch_size=build.number("max_batch_size"),
        max_input_len=build.number("max_input_len"),
        # before 0.11 the answer's length stood by itself
        max_seq_len=build.number("max_seq_len")
        or build.number("max_input_len") + build.number("max_output_len"),
        max_num_tokens=build.number("max_num_tokens"),
        max_beam_width=build.number("max_beam_width", 1),
        max_draft_len=build.number("max_draft_len"),
        prompt_table=build.number("max_prompt_embedding_table_size"),
        paged_kv_cache=_paged(build, plugins),
        remove_input_padding=plugins.on("remove_input_padding", True),
        paged_context_fmha=plugins.on("use_paged_context_fmha"),
        gather_context_logits=build.on("gather_context_logits"),
        gather_generation_logits=build.on("gather_generation_logits"),
        weight_streaming=build.on("weight_streaming"),
        lora=bool(plugins.raw("lora_plugin")),
        speculative=_speculative(build.raw("speculative_decoding_mode")),
        document=document,
    )


def ranks(names: Sequence[str]) -> tuple[int, ...]:
    """Return the ranks whose engine file is among ``names``, ascending."""
    found = (_RANK.fullmatch(name) for name in names)
    return tuple(sorted(int(match[1]) for match in found if match))


_SHOWN = 16


def lacking_ranks(engine: EngineConfig, names: Sequence[str]) -> str:
    """Return a sentence if the engine files do not match the mapping's ranks; else ``""``."""
    there, wanted = ranks(names), range(engine.world)
    if len(there) == engine.world and all(map(int.__eq__, there, wanted)):
        return ""
    shape = (
        " x ".join(
            f"{name}{size}"
            for name, size in (("tp", engine.tp), ("pp", engine.pp), ("cp", engine.cp))
            if size > 1
        )
        or "one GPU"
    )
    said = f"it was built for {shape}, which is {engine.world} rank*.engine"
    # a broken config.json may name more ranks than memory can hold
    missing = list(islice((rank for rank in wanted if rank not in there), _SHOWN + 1))
    gone = [f"rank{rank}.engine" for rank in missing[:_SHOWN]] + ["…"] * (len(missing) > _SHOWN)
    more = [f"rank{rank}.engine" for rank in there if rank not in wanted]
    parts = [f"{', '.join(gone)} missing"] * bool(gone) + [f"{', '.join(more)} too many"] * bool(
        more
    )
    return f"{said}, and {len(there)} are there: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Fields:
    """A JSON object read by type: a value of another type counts as absent."""

    values: Mapping[str, Any]

    def raw(self, key: str) -> Any:
        return self.values.get(key)

    def number(self, key: str, default: int = 0) -> int:
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def on(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key)
        return value if isinstance(value, bool) else default

    def part(self, key: str) -> _Fields:
        value = self.values.get(key)
        return _Fields(value if isinstance(value, dict) else {})


def _parallel_sizes(mapping: _Fields) -> tuple[int, int, int]:
    """Tensor, pipeline and context parallel sizes; ValueError when one is below 1."""
    tp, pp = mapping.number("tp_size", 1), mapping.number("pp_size", 1)
    world = mapping.number("world_size", tp * pp)
    cp = mapping.number("cp_size", max(1, world // max(1, tp * pp)))
    for name, size in (("tp_size", tp), ("pp_size", pp), ("cp_size", cp)):
        if size < 1:
            raise ValueError(f"its {name} is {size}, and at least one GPU runs an engine")
    return tp, pp, cp


def _paged(build: _Fields, plugins: _Fields) -> bool:
    kind = build.raw("kv_cache_type")
    if isinstance(kind, str):
        return kind.rpartition(".")[2].lower() == "paged"
    return plugins.on("paged_kv_cache", True)


def _speculative(mode: Any) -> str:
    if isinstance(mode, int):
        return _SPECULATIVE.get(mode, str(mode))
    text = str(mode or "").rpartition(".")[2].lower()
    return "" if text == "none" else text


def _unusable(path: Path, why: str) -> RepositoryError:
    return RepositoryError(
        f"the engine's {CONFIG} cannot be used: {why}",
        where=str(path),
        fix="give the directory that trtllm-build wrote, with config.json and rank*.engine, or "
        "build it: trtbuild convert SOURCE --backend trtllm-engine",
    )
