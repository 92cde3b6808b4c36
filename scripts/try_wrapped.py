"""Try what vLLM says it can run through transformers' own code, and write ``data/wrapped.toml``.

A maintainer's chore, with the embedded runtime's Python (``trtbuild runtime path``)/bin/python:

    .../bin/python scripts/try_wrapped.py                  # every row of MODELS, some minutes
    .../bin/python scripts/try_wrapped.py helium jetmoe    # only these; the other rows stay

``ModelConfig`` accepts every architecture whose attention goes through transformers' interface.
That says little: the engine refuses some while it loads them, and computes other tokens from
others. So a tiny random model of each is made, asked for ten greedy tokens in vLLM and in
transformers, and the two are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "src" / "trtbuild" / "data" / "wrapped.toml"
PROMPT = [5, 17, 33, 99, 120, 7, 45, 200, 11, 3]
TOKENS = 10
SMALL = {
    "vocab_size": 256, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
EXPERTS = {
    "moe_intermediate_size": 64, "n_routed_experts": 4, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "num_key_value_heads": 4,
}  # fmt: skip
# transformers' model types, with what their small configuration needs besides.
MODELS: dict[str, dict[str, Any]] = {
    "bart": {
        "d_model": 128, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
        "is_decoder": True, "is_encoder_decoder": False,
    },
    "bert": {"is_decoder": True},
    "biogpt": {},
    "bitnet": {},
    "diffllama": {},
    "doge": {},
    "dots1": {**EXPERTS, "first_k_dense_replace": 1},
    "helium": {},
    "jetmoe": {"kv_channels": 32, "num_local_experts": 4, "num_experts_per_tok": 2},
    "ministral": {"sliding_window": 32, "layer_types": ["sliding_attention"] * 2},
    "modernbert-decoder": {"global_attn_every_n_layers": 1, "local_attention": 32},
    "nanochat": {},
    "persimmon": {},
    "phimoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "roberta": {"is_decoder": True},
    "solar_open": {**EXPERTS, "first_k_dense_replace": 0},
    "vaultgemma": {"query_pre_attn_scalar": 32},
    "xlm-roberta": {"is_decoder": True},
    "youtu": {
        "kv_lora_rank": 512, "q_lora_rank": 32, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
        "v_head_dim": 128, "num_key_value_heads": 4, "head_dim": 64,
    },
}  # fmt: skip
DIFFERENT = "it computes other tokens than transformers does"
FAILED = {"load": "vLLM refuses it while it loads", "ask": "it fails at the first request"}
HEAD = """\
# What comes of transformers' own code inside vLLM's wrapper, where that was tried: tiny random
# models, {tokens} greedy tokens on a CPU, compared with transformers' generate. vLLM {vllm},
# transformers {transformers}. Written by scripts/try_wrapped.py. "same" is offered, the others are
# refused with these words; what is not listed is offered untried.

[tried]
"""


def main() -> None:
    """Try the model types that are named, each in a process of its own."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(outcome(sys.argv[2])), flush=True)
        os._exit(0)  # vLLM's engine does not end by itself everywhere
    tried = tomllib.loads(DATA.read_text(encoding="utf-8"))["tried"] if DATA.exists() else {}
    for model_type in sys.argv[1:] or sorted(MODELS):
        command = [sys.executable, __file__, "--one", model_type]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        name, said = json.loads(done.stdout.splitlines()[-1])
        tried[name] = said
        print(f"{name}: {said}", flush=True)
    import transformers
    import vllm

    head = HEAD.format(tokens=TOKENS, vllm=vllm.__version__, transformers=transformers.__version__)
    rows = "".join(f'{name} = "{said}"\n' for name, said in sorted(tried.items()))
    DATA.write_text(head + rows, encoding="utf-8")


def outcome(model_type: str) -> tuple[str, str]:
    """The architecture, and what comes of it."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        name, expected = reference(model_type, folder)
        from vllm import LLM, SamplingParams

        try:
            engine = LLM(
                model=folder, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64,
                dtype="float32", max_num_seqs=2,
            )  # fmt: skip
        except Exception:
            return name, FAILED["load"]
        sampling = SamplingParams(
            temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False
        )
        try:
            answers = engine.generate([{"prompt_token_ids": PROMPT}], sampling, use_tqdm=False)
        except Exception:
            return name, FAILED["ask"]
    found = list(answers[0].outputs[0].token_ids)
    return name, "same" if found == expected else DIFFERENT


def reference(model_type: str, folder: str) -> tuple[str, list[int]]:
    """Make the model in ``folder``; its architecture, and transformers' tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**SMALL, **MODELS[model_type]})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:  # far enough apart that no rounding changes the greatest
            torch.nn.init.normal_(parameter, std=0.15)
    model.eval().save_pretrained(folder)
    with torch.no_grad():
        made = model.generate(
            torch.tensor([PROMPT]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=-1,
            pad_token_id=0,
        )  # fmt: skip
    return type(model).__name__, made[0, len(PROMPT) :].tolist()


if __name__ == "__main__":
    main()
