"""Build ``config.json`` and ``generation_config.json`` from GGUF metadata."""

from __future__ import annotations

import math
from typing import Any

from trtbuild.errors import UnsupportedError
from trtbuild_checkpoints.ggml.architectures import ROPE_FACTORS, Architecture
from trtbuild_checkpoints.ggml.file import GgufFile

# Llama 3.1 and later store the resulting factors of their rope scaling, not its settings; these
# are all settings that were published.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ORIGINAL = 8192


class ArchitectureKeys:
    """The keys ``<architecture>.*``, read by type."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self._prefix = file.text("general.architecture")

    def number(self, key: str, default: int | None = None) -> int:
        """Return a natural number; of an array (one value per layer) the only distinct one."""
        value = self._file.metadata.get(f"{self._prefix}.{key}", default)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]
        if type(value) is not int or value < 0:
            raise self._missing(key, value)
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """Return a real number as its author wrote it: 1e-05, not float32's 9.99999974e-06."""
        value = self._file.metadata.get(f"{self._prefix}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._missing(key, value)
        return _shortest(float(value))

    def text(self, key: str) -> str:
        """Return a string, empty if absent."""
        return self._file.text(f"{self._prefix}.{key}")

    def _missing(self, key: str, value: object) -> UnsupportedError:
        state = "is missing" if value is None else f"is {value!r}"
        return UnsupportedError(
            f"{self._file.name}: {self._prefix}.{key} {state}",
            where=self._file.name,
            fix="convert the model to GGUF again with a current llama.cpp",
        )


def _shortest(value: float) -> float:
    """Return the shortest decimal that is the same float32."""
    import numpy as np

    return float(str(np.float32(value)))


def model_config(file: GgufFile, row: Architecture, dtype: str) -> dict[str, Any]:
    """Return ``config.json``; ``dtype`` is that of the weights to be written."""
    settings = ArchitectureKeys(file)
    hidden, heads = settings.number("embedding_length"), settings.number("attention.head_count")
    if not heads or hidden % heads:
        raise UnsupportedError(
            f"{file.name}: {heads} heads do not divide the width {hidden}", where=file.name
        )
    size = settings.number("attention.key_length", hidden // heads)
    embedding = file.tensors.get("token_embd.weight")
    config: dict[str, Any] = {
        "architectures": [row.hf_name],
        "model_type": row.model_type,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": settings.number("feed_forward_length"),
        "num_hidden_layers": settings.number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": settings.number("attention.head_count_kv", heads),
        "head_dim": size,
        "max_position_embeddings": settings.number("context_length"),
        "rms_norm_eps": settings.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": settings.real("rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(file, settings, size),
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "attention_dropout": 0.0,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "vocab_size": embedding.shape[0] if embedding else 0,
        "torch_dtype": dtype,
        "use_cache": True,
        **row.constants,
    }
    return config | _special(file)


def generation_config(file: GgufFile) -> dict[str, Any]:
    """Return ``generation_config.json`` with every id that ends a turn or a text."""
    config: dict[str, Any] = dict(_special(file))
    ends = [file.token_id(role) for role in ("eos", "eot", "eom")]
    known = list(dict.fromkeys(end for end in ends if end is not None))
    if len(known) > 1:
        config["eos_token_id"] = known
    return config


def _special(file: GgufFile) -> dict[str, int]:
    roles = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    found = {key: file.token_id(role) for key, role in roles.items()}
    return {key: value for key, value in found.items() if value is not None}


def _rope_scaling(
    file: GgufFile, settings: ArchitectureKeys, head_size: int
) -> dict[str, Any] | None:
    kind = settings.text("rope.scaling.type")
    if ROPE_FACTORS in file.tensors:
        return _llama3_scaling(file, settings, head_size)
    if kind == "none":
        return None
    older = settings.real("rope.scale_linear", 1.0)  # the key of files from before 2024
    factor = settings.real("rope.scaling.factor", older)
    if kind == "linear" or (not kind and factor != 1.0):
        return {"rope_type": "linear", "factor": factor}
    if not kind:
        return None
    if kind == "yarn":
        return _yarn(settings, factor)
    raise UnsupportedError(
        f"{file.name}: rope scaling {kind!r} is not converted from GGUF",
        where=file.name,
        fix="use the model's Hugging Face id",
    )


def _yarn(settings: ArchitectureKeys, factor: float) -> dict[str, Any]:
    context = settings.number("context_length")
    made = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": settings.number(
            "rope.scaling.original_context_length", context
        ),
    }
    for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        value = settings.real(f"rope.scaling.{theirs}", -1.0)
        if value >= 0:
            made[ours] = value
    share = settings.real("rope.scaling.attn_factor", 1.0)
    if share != 1.0:  # llama.cpp's factor, in addition to YaRN's attention scaling
        made["attention_factor"] = share * (0.1 * math.log(factor) + 1.0)
    return made


def _llama3_scaling(file: GgufFile, settings: ArchitectureKeys, head_size: int) -> dict[str, Any]:
    """Return the settings that give the stored factors; each factor is checked."""
    import numpy as np

    tensor = file.tensors[ROPE_FACTORS]
    with tensor.path.open("rb") as source:
        source.seek(tensor.begin)
        raw = source.read(tensor.size)
    stored = np.frombuffer(raw, np.float32)
    factor = _shortest(float(stored.max()))
    base = settings.real("rope.freq_base", 10000.0)
    expected = [_llama3_factor(base ** (2 * i / head_size), factor) for i in range(head_size // 2)]
    if stored.shape != (head_size // 2,) or not np.allclose(stored, expected, rtol=1e-4):
        raise UnsupportedError(
            f"{file.name}: its rope factors are those of no published scaling",
            where=file.name,
            fix="use the model's Hugging Face id",
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "original_max_position_embeddings": _LLAMA3_ORIGINAL,
        **_LLAMA3,
    }


def _llama3_factor(wavelength_over_tau: float, factor: float) -> float:
    """Return the divisor of one frequency (Llama 3.1's model card; transformers "llama3")."""
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    turns = _LLAMA3_ORIGINAL / (2 * math.pi * wavelength_over_tau)
    if turns > high:
        return 1.0
    if turns < low:
        return factor
    smooth = (turns - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
