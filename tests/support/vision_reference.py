"""What transformers answers to prompts with images, greedily, in fp32.

Run by the runtime's Python. Reads ``{"model", "max_tokens", "requests": [{"prompt", "images":
[paths]}]}`` from standard input and writes a list of texts.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import torch
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    job = json.load(sys.stdin)
    processor = AutoProcessor.from_pretrained(job["model"])
    model = LlavaForConditionalGeneration.from_pretrained(job["model"], dtype=torch.float32)
    answers = []
    for request in job["requests"]:
        images = [Image.open(path).convert("RGB") for path in request["images"]]
        inputs = processor(text=request["prompt"], images=images, return_tensors="pt")
        made = model.generate(
            **inputs,
            do_sample=False,
            min_new_tokens=job["max_tokens"],
            max_new_tokens=job["max_tokens"],
        )
        new = made[0, inputs["input_ids"].shape[1] :]
        answers.append(processor.tokenizer.decode(new, skip_special_tokens=True))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
