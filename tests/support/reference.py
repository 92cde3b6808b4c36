"""Greedy text by transformers, run in the export environment; the truth for our server.

    python reference.py JOB ANSWERS

JOB is ``{"model", "max_tokens", "prompts"}`` as JSON; ANSWERS gets one
``{"prompt", "text", "tokens", "input_tokens"}`` for each prompt: text, ``messages``, or ``ids`` of
tokens.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    asked, answered = map(Path, sys.argv[1:])
    job = json.loads(asked.read_text())
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    answers = []
    for item in job["prompts"]:
        if "ids" in item:
            prompt = tokenizer.decode(item["ids"])
            ids = {"input_ids": torch.tensor([item["ids"]])}
            ids["attention_mask"] = torch.ones_like(ids["input_ids"])
        else:
            prompt = item.get("prompt") or tokenizer.apply_chat_template(
                item["messages"], tokenize=False, add_generation_prompt=True
            )
            ids = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(**ids, max_new_tokens=job["max_tokens"], do_sample=False)
        new = out[0, ids["input_ids"].shape[1] :]
        answers.append(
            {
                "prompt": prompt,
                "text": tokenizer.decode(new, skip_special_tokens=True),
                "tokens": len(new),
                "input_tokens": int(ids["input_ids"].shape[1]),
            }
        )
    answered.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
