"""Tiny random ELECTRA, ViT and Whisper checkpoints, made without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from support.checkpoints import write_json
from support.tiny_encoders import make_embedder
from support.torch_others import ANIMALS, LANGUAGES, SECONDS, VIT, whisper_tokenizer

WIDTH, INNER, LAYERS, MELS, PLACES = 32, 48, 2, 8, 24
Shapes = dict[str, tuple[int, ...]]


def make_electra(folder: Path) -> Path:
    """The embedder of :func:`make_embedder` as an ELECTRA, whose tensors have the same names."""
    make_embedder(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    other = {"architectures": ["ElectraModel"], "model_type": "electra", "embedding_size": WIDTH}
    write_json(folder / "config.json", {**config, **other})
    return folder


def make_vit(folder: Path) -> Path:
    """An image classifier of three labels, 16 x 16 pixels in patches of 4."""
    shapes: Shapes = {
        "vit.embeddings.cls_token": (1, 1, WIDTH),
        "vit.embeddings.position_embeddings": (1, 17, WIDTH),
        "vit.embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 4, 4),
        "vit.embeddings.patch_embeddings.projection.bias": (WIDTH,),
        **_norm("vit.layernorm"),
        **_linear("classifier", len(ANIMALS), WIDTH),
    }
    for layer in range(LAYERS):
        at = f"vit.encoder.layer.{layer}"
        for name in ("attention.attention.query", "attention.attention.key",
                     "attention.attention.value", "attention.output.dense"):  # fmt: skip
            shapes |= _linear(f"{at}.{name}", WIDTH, WIDTH)
        shapes |= _linear(f"{at}.intermediate.dense", INNER, WIDTH)
        shapes |= _linear(f"{at}.output.dense", WIDTH, INNER)
        shapes |= _norm(f"{at}.layernorm_before") | _norm(f"{at}.layernorm_after")
    folder.mkdir(parents=True)
    write_json(folder / "preprocessor_config.json", VIT)
    labels = {str(at): name for at, name in ANIMALS.items()}
    _write(
        folder, shapes, "ViTForImageClassification", "vit", hidden_size=WIDTH, image_size=16,
        patch_size=4, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=INNER,
        num_channels=3, id2label=labels, label2id={name: at for at, name in ANIMALS.items()},
    )  # fmt: skip
    return folder


def make_whisper(folder: Path) -> Path:
    """A Whisper of one layer on each side that knows three languages."""
    folder.mkdir(parents=True)
    ids = whisper_tokenizer(folder, languages=True)
    size = max(ids.values()) + 1
    shapes: Shapes = {
        "model.encoder.conv1.weight": (WIDTH, MELS, 3), "model.encoder.conv1.bias": (WIDTH,),
        "model.encoder.conv2.weight": (WIDTH, WIDTH, 3), "model.encoder.conv2.bias": (WIDTH,),
        "model.encoder.embed_positions.weight": (50 * SECONDS, WIDTH),
        "model.decoder.embed_positions.weight": (PLACES, WIDTH),
        "model.decoder.embed_tokens.weight": (size, WIDTH),
        **_norm("model.encoder.layer_norm"), **_norm("model.decoder.layer_norm"),
    }  # fmt: skip
    for side, attentions in (
        ("encoder", ["self_attn"]),
        ("decoder", ["self_attn", "encoder_attn"]),
    ):
        at = f"model.{side}.layers.0"
        for name in attentions:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= _linear(f"{at}.{name}.{part}", WIDTH, WIDTH)
            del shapes[f"{at}.{name}.k_proj.bias"]
            shapes |= _norm(f"{at}.{name}_layer_norm")
        shapes |= _linear(f"{at}.fc1", INNER, WIDTH) | _linear(f"{at}.fc2", WIDTH, INNER)
        shapes |= _norm(f"{at}.final_layer_norm")
    end = ids["<|endoftext|>"]
    special = {
        "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
    }  # fmt: skip
    sides = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", INNER))
    }
    _write(
        folder, shapes, "WhisperForConditionalGeneration", "whisper", vocab_size=size,
        num_mel_bins=MELS, d_model=WIDTH, max_source_positions=50 * SECONDS,
        max_target_positions=PLACES, suppress_tokens=[], begin_suppress_tokens=[], **sides,
        **special, is_encoder_decoder=True, tie_word_embeddings=True,
    )  # fmt: skip
    write_json(folder / "generation_config.json", {**special, **_generation(ids)})
    write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": MELS,
            "chunk_length": SECONDS, "hop_length": 160, "n_fft": 400, "sampling_rate": 16_000,
            "n_samples": SECONDS * 16_000, "nb_max_frames": SECONDS * 100,
        },
    )  # fmt: skip
    return folder


def _generation(ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "no_timestamps_token_id": ids["<|notimestamps|>"], "is_multilingual": True,
        "max_length": PLACES, "return_timestamps": False, "max_initial_timestamp_index": 20,
        "prev_sot_token_id": ids["<|startofprev|>"],
        "lang_to_id": {f"<|{one}|>": ids[f"<|{one}|>"] for one in LANGUAGES},
        "task_to_id": {one: ids[f"<|{one}|>"] for one in ("transcribe", "translate")},
    }  # fmt: skip


def _write(folder: Path, shapes: Shapes, architecture: str, kind: str, **config: Any) -> None:
    rng = np.random.default_rng(len(shapes))
    weights = {
        name: (rng.normal(0, 0.2, shape) + name.endswith("norm.weight")).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    named = {"architectures": [architecture], "model_type": kind, "torch_dtype": "float32"}
    write_json(folder / "config.json", {**named, **config})


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str) -> Shapes:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
