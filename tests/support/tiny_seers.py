"""Tiny vision-language checkpoints of several families, and transformers' answers to them.

Run by the runtime's Python (``tiny_seers.py FAMILY FOLDER``): writes a checkpoint with random
weights and ``image.png``, and prints the prompt and transformers' greedy answer as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOKENS = 10
_TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
_SEEN: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128}
_QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_INTERN = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
_GEMMA = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
_PIXELS: dict[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": 784,
    "max_pixels": 12544,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48, 0.45, 0.40],
    "image_std": [0.26, 0.26, 0.27],
}
_SQUARE = {"height": 56, "width": 56}
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tokenizer(
    folder: Path, added: tuple[str, ...], named: dict[str, str], words: tuple[str, ...] = ()
) -> dict[str, int]:
    """A byte-level tokenizer without merges; ids of its special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *added)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {name: number for number, name in enumerate((*special, *alphabet))}
    made = Tokenizer(models.BPE(vocab, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    made.add_tokens(list(words))
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=special[0], eos_token=special[2], pad_token=special[0],
        model_max_length=512, extra_special_tokens=named,
    ).save_pretrained(folder)  # fmt: skip
    return dict(made.get_vocab())


def _qwen(folder: Path, name: str, vision: dict[str, Any], **text: Any) -> tuple[Any, str]:
    import transformers

    ids = tokenizer(folder, _QWEN, {})
    config = getattr(transformers, f"{name}Config")(
        text_config={**_TEXT, "rope_parameters": {**_ROPE, **text.pop("rope", {})}, **text},
        vision_config=vision,
        vision_start_token_id=ids[_QWEN[0]],
        vision_end_token_id=ids[_QWEN[1]],
        image_token_id=ids[_QWEN[2]],
        video_token_id=ids[_QWEN[3]],
        tie_word_embeddings=False,
    )
    return config, f"{_QWEN[0]}{_QWEN[2]}{_QWEN[1]}What?"


def qwen2_vl(folder: Path) -> tuple[str, Any, dict[str, Any], str]:
    vision = {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    config, prompt = _qwen(folder, "Qwen2VL", {**vision, "patch_size": 14})
    return "Qwen2VL", config, {**_PIXELS, "processor_class": "Qwen2VLProcessor"}, prompt


def qwen2_5_vl(folder: Path) -> tuple[str, Any, dict[str, Any], str]:
    vision = {**_SEEN, "depth": 2, "num_heads": 2, "out_hidden_size": 64, "patch_size": 14}
    more = {"fullatt_block_indexes": [1], "window_size": 56}
    config, prompt = _qwen(folder, "Qwen2_5_VL", {**vision, **more})
    return "Qwen2_5_VL", config, {**_PIXELS, "processor_class": "Qwen2_5_VLProcessor"}, prompt


def qwen3_vl(folder: Path) -> tuple[str, Any, dict[str, Any], str]:
    vision = {**_SEEN, "depth": 2, "num_heads": 2, "out_hidden_size": 64, "patch_size": 16}
    more = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    rope = {"mrope_interleaved": True}
    config, prompt = _qwen(folder, "Qwen3VL", {**vision, **more}, head_dim=32, rope=rope)
    size = {"shortest_edge": 1024, "longest_edge": 16384}
    pixels = {key: value for key, value in _PIXELS.items() if not key.endswith("_pixels")}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16, "size": size}
    more = {"temporal_patch_size": 2, "merge_size": 2}
    _write(folder / "video_preprocessor_config.json", {**video, **more})
    processor = {"processor_class": "Qwen3VLProcessor", "patch_size": 16, "size": size}
    return "Qwen3VL", config, {**pixels, **processor}, prompt


def internvl(folder: Path) -> tuple[str, Any, dict[str, Any], str]:
    import transformers

    keys = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    ids = tokenizer(folder, _INTERN, dict(zip(keys, _INTERN, strict=True)))
    config = transformers.InternVLConfig(
        text_config={**_TEXT, "model_type": "qwen2"},
        vision_config={**_SEEN, "num_attention_heads": 2, "num_hidden_layers": 2,
                       "image_size": [56, 56], "patch_size": [14, 14]},
        image_seq_length=4,
        image_token_id=ids[_INTERN[2]],
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )  # fmt: skip
    _write(
        folder / "processor_config.json",
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
    )
    processor = {
        "image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE,
        "crop_to_patches": True, "min_patches": 1, "max_patches": 4, **_HALF,
    }  # fmt: skip
    return "InternVL", config, processor, f"{_INTERN[2]}What?"


def gemma3(folder: Path) -> tuple[str, Any, dict[str, Any], str]:
    import transformers

    keys = ("boi_token", "eoi_token", "image_token")
    lines = tuple("\n" * count for count in (1, 2, 3, 4))  # vLLM asks for these
    ids = tokenizer(folder, _GEMMA, dict(zip(keys, _GEMMA, strict=True)), lines)
    config = transformers.Gemma3Config(
        text_config={**_TEXT, "vocab_size": len(ids), "head_dim": 32, "sliding_window": 64,
                     "query_pre_attn_scalar": 32,
                     "layer_types": ["sliding_attention", "full_attention"]},
        vision_config={**_SEEN, "num_attention_heads": 2, "num_hidden_layers": 2, "image_size": 56,
                       "patch_size": 14},
        mm_tokens_per_image=4,
        boi_token_index=ids[_GEMMA[0]],
        eoi_token_index=ids[_GEMMA[1]],
        image_token_index=ids[_GEMMA[2]],
    )  # fmt: skip
    _write(
        folder / "processor_config.json",
        {"processor_class": "Gemma3Processor", "image_seq_length": 4},
    )
    processor = {"image_processor_type": "Gemma3ImageProcessor", "size": _SQUARE, **_HALF}
    return "Gemma3", config, processor, f"{_GEMMA[0]}What?"


FAMILIES = {
    "gemma3": gemma3,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
}


def _publish(file: Path) -> None:
    """Give an image encoder the names of published checkpoints, which transformers 5 shortens."""
    from safetensors.torch import load_file, save_file

    short, full = "vision_tower.", "vision_tower.vision_model."
    found = load_file(file)
    if f"{short}embeddings.patch_embedding.weight" in found:
        save_file({k.replace(short, full): v for k, v in found.items()}, file, {"format": "pt"})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def main() -> None:
    import torch
    import transformers
    from PIL import Image

    family, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True)
    name, config, processor, prompt = FAMILIES[family](folder)
    _write(folder / "preprocessor_config.json", processor)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config).float().eval()
    for weights in model.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.05)
    if family == "gemma3":  # its output layer is its input's: large rows would repeat a token
        model.get_input_embeddings().weight.data.mul_(0.2)
    model.save_pretrained(folder)
    _publish(folder / "model.safetensors")
    saved = json.loads((folder / "config.json").read_bytes())
    _write(folder / "config.json", {**saved, "architectures": [f"{name}ForConditionalGeneration"]})
    picture = Image.effect_noise((56, 56), 90).convert("RGB")
    picture.save(folder / "image.png")
    inputs = transformers.AutoProcessor.from_pretrained(folder)(
        text=[prompt], images=[picture], return_tensors="pt"
    )
    lengths = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
    made = model.generate(**inputs, do_sample=False, **lengths)
    new = made[0, inputs["input_ids"].shape[1] :].tolist()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    answer = words.decode(new, skip_special_tokens=True)
    json.dump({"prompt": prompt, "text": answer, "tokens": new}, sys.stdout)


if __name__ == "__main__":
    main()
