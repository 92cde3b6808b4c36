"""The same benchmark as command lines of other tools."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from trtbuild.errors import UsageError
from trtbuild_measure.bench.loads import Limits, Load
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.targets import Address

# AIPerf's inter-token latency is our TPOT; of one-token chunks that is the mean ITL, too.
_GOODPUT = {
    "ttft_ms": "time_to_first_token",
    "itl_ms": "inter_token_latency",
    "tpot_ms": "inter_token_latency",
    "e2e_ms": "request_latency",
}


def aiperf_commands(
    options: BenchOptions, targets: Sequence[Address], endpoint: str
) -> Iterator[str]:
    """Return an ``aiperf profile`` command line for each target and load.

    Option names are those of AIPerf 0.13. It speaks OpenAI's API but not Triton's own
    protocols, so these targets cannot be exported.

    Raises:
        UsageError: AIPerf cannot measure this.
    """
    if endpoint not in ("chat", "completions"):
        raise UsageError(f"measurements of /{endpoint} are not exported", fix="leave out --export")
    for address in targets:
        if address.kind != "openai":
            raise UsageError(
                f"AIPerf cannot measure {address.text}",
                fix="it speaks OpenAI's API: export an openai:http://… target",
            )
        for load in options.loads:
            argv = ["aiperf", "profile", "--model", address.model, *_url(address, endpoint)]
            argv += ["--streaming", *_load(load, options), *_limits(load, options.limits)]
            argv += _prompts(options)
            argv += ["--tokenizer", str(options.tokenizer or address.model)]
            argv += ["--random-seed", str(options.seed)]
            argv += [
                "--request-timeout-seconds",
                f"{options.timeout:g}",
                *_goodput(options.objectives),
            ]
            argv += ["--extra-inputs", f"temperature:{options.generation.temperature:g}"]
            if options.generation.forced:
                argv += ["--extra-inputs", "ignore_eos:true"]
            # Not quoted, so that the shell that runs the command expands the key.
            key = f' --api-key "${options.api_key_env}"' if options.api_key_env else ""
            yield shlex.join(argv) + key


def _url(address: Address, endpoint: str) -> list[str]:
    """AIPerf appends ``/v1/chat/completions`` to the URL by default."""
    if address.url.endswith("/v1"):
        return ["--url", address.url.removesuffix("/v1"), "--endpoint-type", endpoint]
    parts = urlsplit(address.url)
    path = {"chat": "/chat/completions"}.get(endpoint, "/completions")
    found = ["--url", f"{parts.scheme}://{parts.netloc}", "--endpoint-type", endpoint]
    return [*found, "--custom-endpoint", parts.path + path]


def _load(load: Load, options: BenchOptions) -> list[str]:
    if load.kind == "closed":
        return ["--concurrency", str(load.concurrency)]
    if load.kind == "open":
        mode = "poisson" if load.arrivals == "poisson" else "constant"
        return ["--request-rate", f"{load.rate:g}", "--request-rate-mode", mode]
    found = ["--input-file", str(options.trace), "--custom-dataset-type", "mooncake-trace"]
    return [*found, "--fixed-schedule", "--fixed-schedule-auto-offset"]


def _limits(load: Load, limits: Limits) -> list[str]:
    found = []
    whole = limits.for_load(load, 1)
    if whole.requests is not None:
        found += ["--request-count", str(whole.requests)]
    if whole.seconds is not None:
        found += ["--benchmark-duration", f"{whole.seconds:g}", "--benchmark-grace-period", "inf"]
    warmups = limits.warmups(load)
    return [*found, "--warmup-request-count", str(warmups)] if warmups else found


def _prompts(options: BenchOptions) -> list[str]:
    if options.trace is not None:
        return []
    prefix = options.shared_prefix
    found = [*_lengths("input", options.prompt_tokens, prefix)]
    found += _lengths("output", options.output_tokens)
    if prefix:  # our prompts include the prefix, AIPerf puts it before them
        found += ["--num-prefix-prompts", "1", "--prefix-prompt-length", str(prefix)]
    return found


def _lengths(side: str, text: str, less: int = 0) -> list[str]:
    """Return mean and deviation: AIPerf draws lengths from a normal distribution only."""
    mean, _, deviation = text.removeprefix("normal:").partition(":")
    if not mean.isdigit() or (deviation and not text.startswith("normal:")):
        raise UsageError(
            f"AIPerf cannot draw lengths from {text!r}",
            fix="use a fixed length or normal:MEAN:DEVIATION",
        )
    if int(mean) <= less:
        raise UsageError(
            f"prompts of {text} tokens cannot begin with {less} that all share",
            fix="raise --prompt-tokens, which includes the prefix",
        )
    option = "synthetic-input-tokens" if side == "input" else "output-tokens"
    return [f"--{option}-mean", str(int(mean) - less), f"--{option}-stddev", deviation or "0"]


def _goodput(slo: Mapping[str, float]) -> list[str]:
    limits: dict[str, float] = {}
    for name, limit in slo.items():
        if name not in _GOODPUT:
            raise UsageError(
                f"AIPerf has no objective for {name.removesuffix('_ms')}",
                fix="leave it out of --slo: ttft, itl, tpot and e2e can be exported",
            )
        metric = _GOODPUT[name]
        limits[metric] = min(limit, limits.get(metric, limit))
    if not limits:
        return []
    return ["--goodput", " ".join(f"{metric}:{limit:g}" for metric, limit in limits.items())]
