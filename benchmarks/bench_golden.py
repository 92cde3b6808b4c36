"""How often `eval golden check` raises a false alarm, and what it finds, with a real model.

    python benchmarks/bench_golden.py --runs 100

SmolLM2-135M-Instruct answers 12 prompts in batches of random sizes and orders. transformers and
PyTorch run in the embedded runtime's Python (`trtbuild runtime install`); the judgement is that of
the command.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUBJECTS = ("the capital of France", "why the sky is blue", "how to boil an egg",
            "the three primary colours", "what a compiler does", "the largest planet")  # fmt: skip
PROMPTS = [
    f"<|im_start|>user\n{verb} {subject}.<|im_end|>\n<|im_start|>assistant\n"
    for subject in SUBJECTS
    for verb in ("Tell me about", "Explain in one sentence")
]
OTHER_TEMPLATE = [text.replace("<|im_start|>user\n", "User: ") for text in PROMPTS]
VARIANTS = ("same", "float32", "int8 weights, one scale a tensor", "without its last layer")
MAY_PASS = ("float32",)  # more exact than what was recorded: a change only of narrow margins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=10)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        answer()
    else:
        measure(given)


def measure(given: argparse.Namespace) -> None:
    from trtbuild_measure.answers.golden import Outcome, compare, noise_of, wide_margin

    with tempfile.TemporaryDirectory() as folder, Child(Path(folder), given) as child:
        whole = range(len(PROMPTS))
        recorded = answers(child.ask("same", [[at] for at in whole]))
        together = answers(child.ask("same", [list(whole)]))
        noise = noise_of(recorded, together)
        wide = wide_margin(noise)
        margins = sorted(s.margin or 0.0 for one in recorded for s in one.steps)
        print(f"{given.dtype}: {len(margins)} tokens, noise {noise:.4f}, wide from {wide:.4f} nats")
        print(f"margins: {sum(m < wide for m in margins) / len(margins):.1%} are narrow")

        def judged(found: list[Any]) -> tuple[int, int, float]:
            made = [compare("", *pair, wide) for pair in zip(recorded, found, strict=True)]
            noises = sum(one.outcome is Outcome.NOISE for one in made)
            return sum(one.failed for one in made), noises, max(one.shift for one in made)

        drawn = random.Random(0)
        alarms = flips = 0
        largest = 0.0
        for run in range(given.runs):
            failed, noises, shift = judged(answers(child.ask("same", batches(drawn))))
            alarms += failed > 0
            flips += noises
            largest = max(largest, shift)
            print(f"\rrun {run + 1}: {alarms} false alarms", end="", file=sys.stderr, flush=True)
        print(
            f"\n{given.runs} runs: {alarms} false alarms, {flips} narrow flips in "
            f"{given.runs * len(PROMPTS)} answers, margins changed by up to {largest:.4f}"
        )
        missed = []
        for name in VARIANTS[1:]:
            if name != given.dtype:
                failed, noises, shift = judged(answers(child.ask(name, batches(drawn))))
                print(
                    f"{name}: {failed} of {len(PROMPTS)} answers are regressions, "
                    f"{noises} noise, margins changed by up to {shift:.3f}"
                )
                missed += [name] if not failed and name not in MAY_PASS else []
        failed, *_ = judged(answers(child.ask("same", [list(whole)], OTHER_TEMPLATE)))
        print(f"another chat template: {failed} of {len(PROMPTS)} prompts changed")
    if alarms or missed or failed < len(PROMPTS):
        sys.exit(f"error: {alarms} false alarms; not found: {', '.join(missed) or 'nothing'}")


def batches(drawn: random.Random) -> list[list[int]]:
    """The prompts in a random order, in batches of random sizes."""
    order = list(range(len(PROMPTS)))
    drawn.shuffle(order)
    found = []
    while order:
        size = drawn.randint(2, len(PROMPTS))
        found.append(order[:size])
        order = order[size:]
    return found


def answers(found: dict[str, Any]) -> list[Any]:
    from trtbuild_measure.answers.model import Answer, Step, ordered

    made = []
    for one in found["answers"]:
        steps = tuple(
            Step(token, "", value, ordered(token, [(t, v) for t, v in best]))
            for token, value, best in one["steps"]
        )
        made.append(Answer("", steps, tuple(one["prompt"])))
    return made


class Child:
    """The model in the runtime's Python."""

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        from trtbuild import checkpoint
        from trtbuild.progress import SILENT
        from trtbuild.server import runtime

        source = checkpoint.open_checkpoint("sample:smollm2", dtype="float32")
        for file in checkpoint.materialize(source, SILENT):
            (folder / file.name).symlink_to(str(file.path))
        command = [runtime.ensure().python, __file__, "--child"]
        self._given = {"model": str(folder), "tokens": given.tokens, "dtype": given.dtype}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def ask(
        self, variant: str, batches: list[list[int]], prompts: list[str] = PROMPTS
    ) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {**self._given, "variant": variant, "batches": batches, "prompts": prompts}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def answer() -> None:
    """Answer jobs, a line each; runs in the runtime's Python."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # two would wait for each other on a busy machine
    models: dict[str, Any] = {}
    tokenizer = None
    for line in sys.stdin:
        job = json.loads(line)
        variant = job["variant"]
        if variant not in models:
            models.clear()
            dtype = "float32" if variant == "float32" else job["dtype"]
            model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, dtype))
            models[variant] = changed(model.eval(), variant)
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(job["model"], padding_side="left")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        made: list[Any] = [None] * len(job["prompts"])
        for batch in job["batches"]:
            texts = [job["prompts"][at] for at in batch]
            for at, one in zip(
                batch, generated(models[variant], tokenizer, texts, job["tokens"]), strict=True
            ):
                made[at] = one
        print(json.dumps({"answers": made}), flush=True)


def changed(model: Any, variant: str) -> Any:
    """The model with rounded weights, or without its last layer."""
    import torch

    if variant.startswith("int8"):
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim == 2 and "layers" in name:
                    scale = weight.abs().max() / 127
                    weight.copy_((weight / scale).round() * scale)
    elif variant.startswith("without"):
        model.model.layers = model.model.layers[:-1]
        model.config.num_hidden_layers -= 1
    return model


def generated(model: Any, tokenizer: Any, texts: list[str], tokens: int) -> Iterator[Any]:
    import torch

    asked = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(
            **asked, max_new_tokens=tokens, do_sample=False, repetition_penalty=1.0,
            output_logits=True, return_dict_in_generate=True, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    start = asked["input_ids"].shape[1]
    stops = {model.config.eos_token_id, tokenizer.eos_token_id}
    values = torch.stack(out.logits, 1).float().log_softmax(-1)
    best = values.topk(5)
    for row, text in enumerate(texts):
        steps = []
        for at in range(values.shape[1]):
            token = int(out.sequences[row, start + at])
            pairs = zip(best.indices[row, at].tolist(), best.values[row, at].tolist(), strict=True)
            steps.append([token, float(values[row, at, token]), list(pairs)])
            if token in stops:
                break
        yield {"prompt": tokenizer(text)["input_ids"], "steps": steps}


if __name__ == "__main__":
    main()
