"""What transformers answers to prompts with images, greedily, in fp32.

Run by a Python that has transformers, with two files: a job, ``{"model", "max_tokens", "requests":
[{"prompt", "images": [paths]}]}``, and where a list of texts goes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    import torch
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    job = json.loads(Path(sys.argv[1]).read_text())
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
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
