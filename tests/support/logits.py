"""Tiny random models of every family and their logits by transformers, made by the runtime's own
Python: the truth for converted checkpoints.

Takes a directory; writes ``NAME/`` (a checkpoint without a tokenizer) and ``NAME/logits.npy``, and
``ids.npy``. Prints the names.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as tf

IDS = [3, 7, 50, 99, 1, 22, 22, 8, 64, 5, 17, 90]
COMMON = {
    "vocab_size": 101, "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 6,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
WIDE = {**COMMON, "intermediate_size": 96}
NEOX = {**COMMON, "intermediate_size": 192}
GROUPED = {**WIDE, "num_key_value_heads": 2}
MOE = {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MOE["shared_expert_intermediate_size"] = 60
GPT2 = {"vocab_size": 101, "n_embd": 48, "n_layer": 4, "n_head": 6, "n_positions": 64}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
MODELS = {
    "llama": tf.LlamaConfig(**WIDE),
    "llama-wide-heads": tf.LlamaConfig(**GROUPED, head_dim=16, rope_theta=5000.0),
    "llama-biases": tf.LlamaConfig(**GROUPED, attention_bias=True, tie_word_embeddings=True),
    "llama-3": tf.LlamaConfig(**GROUPED, head_dim=32, rope_scaling=LLAMA3),
    "llama-linear": tf.LlamaConfig(**GROUPED, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "mistral": tf.MistralConfig(**GROUPED, head_dim=16, sliding_window=None),
    "qwen2": tf.Qwen2Config(**GROUPED),
    "mixtral": tf.MixtralConfig(
        **GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=None
    ),
    "qwen2-moe": tf.Qwen2MoeConfig(**MOE, norm_topk_prob=False),
    "qwen2-moe-normalised": tf.Qwen2MoeConfig(**MOE, norm_topk_prob=True),
    "phi3": tf.Phi3Config(**GROUPED, sliding_window=None),
    "phi3-partial": tf.Phi3Config(**GROUPED, sliding_window=None, partial_rotary_factor=0.5),
    "gemma2": tf.Gemma2Config(
        **{**GROUPED, "vocab_size": 102}, head_dim=16, query_pre_attn_scalar=24, sliding_window=64
    ),
    "falcon": tf.FalconConfig(**COMMON, multi_query=True, parallel_attn=True, bias=True),
    "falcon-own-head": tf.FalconConfig(
        **COMMON, multi_query=False, parallel_attn=True, bias=False, tie_word_embeddings=False
    ),
    "falcon-new": tf.FalconConfig(**COMMON, new_decoder_architecture=True, num_kv_heads=2),
    "gpt-neox": tf.GPTNeoXConfig(**NEOX),
    "gpt-neox-tied": tf.GPTNeoXConfig(**NEOX, rotary_pct=1.0, tie_word_embeddings=True),
    "gpt2": tf.GPT2Config(**GPT2, n_inner=90),
    "gpt2-own-head": tf.GPT2Config(**GPT2, tie_word_embeddings=False),
}


def make(folder, config, seed):
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn_like(values) * 0.12
            # Norms near one, which Gemma stores less one.
            one = values.ndim == 1 and name.endswith("weight") and config.model_type != "gemma2"
            values.copy_(noise + 1 if one else noise)
        model.tie_weights()
        logits = model(torch.tensor([IDS])).logits[0]
    model.save_pretrained(folder)
    np.save(folder / "logits.npy", logits.numpy())


def main():
    root = Path(sys.argv[1])
    np.save(root / "ids.npy", np.array(IDS))
    for seed, (name, config) in enumerate(MODELS.items()):
        make(root / name, config, seed)
    print(json.dumps(list(MODELS)))


if __name__ == "__main__":
    main()
