"""Quantize a checkpoint with NVIDIA ModelOpt. Runs in ModelOpt's own environment.

    python worker.py JOB.json

The job names the directories, the format and the texts; progress goes to standard output as JSON, a
line each, and everything else that is printed is for the log. Nothing of the checkpoint is run:
``trust_remote_code`` stays off and only safetensors are loaded.
"""

import copy
import json
import sys
from pathlib import Path

MARK = "trtbuild"


def say(**fields):
    """One line of progress."""
    sys.stdout.write(json.dumps({MARK: 1, **fields}) + "\n")
    sys.stdout.flush()


def settings(modelopt, job):
    """ModelOpt's settings for the format, with the cache's when asked for."""
    chosen = copy.deepcopy(getattr(modelopt, job["config"]))
    if not job["kv_cache"]:
        return chosen
    cache = getattr(modelopt, job["kv_cache"])["quant_cfg"]
    return modelopt.update_quant_cfg_with_kv_cache_quant(chosen, cache)


def calibration(tokenizer, texts, length, device):
    """A function that shows every text to the model, and says how far it is."""

    def run(model):
        for done, text in enumerate(texts, start=1):
            batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=length)
            if batch["input_ids"].shape[1]:
                model(input_ids=batch["input_ids"].to(device))
            say(done=done, total=len(texts))

    return run


def render(tokenizer, item):
    """A text, or a conversation by the model's own chat template."""
    if isinstance(item, str):
        return item
    return tokenizer.apply_chat_template(item, tokenize=False)


def main(path):
    """Load, quantize, export."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    say(step="loading PyTorch and ModelOpt")
    import modelopt.torch.quantization as modelopt
    import torch
    from modelopt.torch.export import export_hf_checkpoint
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    say(step=f"loading the checkpoint on the {device.upper()}")
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=job["dtype"], use_safetensors=True
    )
    model = model.to(device).eval()
    model.config.architectures = [job["architecture"]]  # the export fails without
    texts = [render(tokenizer, item) for item in job["texts"]]
    say(step=f"calibrating with {len(texts)} texts" if texts else "quantizing")
    loop = calibration(tokenizer, texts, job["length"], device) if texts else None
    with torch.inference_mode():
        model = modelopt.quantize(model, settings(modelopt, job), loop)
        say(step="writing the quantized checkpoint")
        export_hf_checkpoint(model, export_dir=job["out"])
    say(step="done")


if __name__ == "__main__":
    main(sys.argv[1])
