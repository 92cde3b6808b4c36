"""Tiny random image classifiers and Whisper models.

Run by a Python that has torch and transformers:

    python torch_others.py DIRECTORY [NAME...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SIZE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
}  # fmt: skip
ANIMALS = {0: "cat", 1: "dog", 2: "owl"}
SECONDS = 2
"""The length of a window; Whisper's own is 30."""
LANGUAGES = ("en", "de", "ja")


def main(directory: str, *names: str) -> None:
    """Write the checkpoints that ``names`` choose, all without one."""
    for name in names or MAKERS:
        folder = Path(directory) / name
        folder.mkdir(parents=True)
        MAKERS[name](folder)


def _random(model: Any, seed: int) -> Any:
    import torch

    torch.manual_seed(seed)
    for weight in model.parameters():
        # The initial weights are so small that a fault would hide in rounding.
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.2)
    return model.eval()


def _images(name: str, processor: Mapping[str, Any], **config: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import transformers

        kind = getattr(transformers, name)
        labels = {"id2label": ANIMALS, "label2id": {label: at for at, label in ANIMALS.items()}}
        _random(kind(kind.config_class(**config, **labels)), len(name)).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")

    return make


def _whisper(*, languages: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from transformers import (
            GenerationConfig,
            WhisperConfig,
            WhisperFeatureExtractor,
            WhisperForConditionalGeneration,
        )

        ids = whisper_tokenizer(folder, languages=languages)
        WhisperFeatureExtractor(feature_size=8, chunk_length=SECONDS).save_pretrained(folder)
        start, end = ids["<|startoftranscript|>"], ids["<|endoftext|>"]
        special = {
            "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
            "decoder_start_token_id": start,
        }  # fmt: skip
        config = WhisperConfig(
            vocab_size=max(ids.values()) + 1, num_mel_bins=8, d_model=32, encoder_layers=1,
            decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=50 * SECONDS,
            max_target_positions=24, suppress_tokens=[], begin_suppress_tokens=[], **special,
        )  # fmt: skip
        model = _random(WhisperForConditionalGeneration(config), 5)
        known: dict[str, Any] = {
            "no_timestamps_token_id": ids["<|notimestamps|>"], "is_multilingual": languages,
            "max_length": 24, "return_timestamps": False, "max_initial_timestamp_index": 20,
            "prev_sot_token_id": ids["<|startofprev|>"],
        }  # fmt: skip
        if languages:
            known["lang_to_id"] = {f"<|{one}|>": ids[f"<|{one}|>"] for one in LANGUAGES}
            known["task_to_id"] = {one: ids[f"<|{one}|>"] for one in ("transcribe", "translate")}
        model.generation_config = GenerationConfig(**special, **known)
        model.save_pretrained(folder)

    return make


def whisper_tokenizer(folder: Path, *, languages: bool) -> dict[str, int]:
    from tokenizers import AddedToken as Added
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = [chr(code) for code in range(33, 127)] + ["Ġ"]
    made = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = [
        "<|endoftext|>", "<|startoftranscript|>",
        *(f"<|{one}|>" for one in LANGUAGES if languages), "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    made.add_special_tokens(names)
    made.add_tokens([Added(f"<|{at * 0.02:.2f}|>") for at in range(SECONDS * 50 + 1)])
    made.save(str(folder / "tokenizer.json"))
    end = {f"{role}_token": "<|endoftext|>" for role in ("bos", "eos", "unk", "pad")}
    extra = {"extra_special_tokens": names[1:], "additional_special_tokens": names[1:]}
    config = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 24, **end, **extra}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return dict(made.get_vocab())


_PLAIN = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2}
VIT = {
    **_PLAIN, "image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16},
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
}  # fmt: skip
MAKERS: Mapping[str, Callable[[Path], None]] = {
    "vit": _images("ViTForImageClassification", VIT, **SIZE, image_size=16, patch_size=4),
    "resnet": _images(
        "ResNetForImageClassification",
        {**VIT, "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 24},
         "crop_pct": 0.875},
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1],
    ),
    "convnext": _images(
        "ConvNextForImageClassification",
        {**VIT, "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32},
         "crop_pct": 0.875},
        hidden_sizes=[8, 16], depths=[1, 1], num_stages=2,
    ),
    "siglip": _images(
        "SiglipForImageClassification",
        {**VIT, "image_processor_type": "SiglipImageProcessor"},
        vision_config={**SIZE, "image_size": 16, "patch_size": 4},
    ),
    "whisper": _whisper(languages=True),
    "whisper-en": _whisper(languages=False),
}  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
