"""What vLLM's own offline engine answers to prompts with an image, greedily, in fp32.

Run by a Python that has vLLM and torchvision, with two files: a job, ``{"model", "engine",
"requests": [{"prompt", "image", "sampling"}]}``, and where a list of token ids and texts goes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    from PIL import Image
    from vllm import LLM, SamplingParams

    job = json.loads(Path(sys.argv[1]).read_text())
    engine = LLM(model=job["model"], enforce_eager=True, **job["engine"])
    answers = []
    for request in job["requests"]:
        image = Image.open(request["image"]).convert("RGB")
        prompt = {"prompt": request["prompt"], "multi_modal_data": {"image": [image]}}
        (done,) = engine.generate([prompt], SamplingParams(**request["sampling"]), use_tqdm=False)
        answers.append([list(done.outputs[0].token_ids), done.outputs[0].text])
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
