"""A benchmark's options as command lines of another tool."""

from __future__ import annotations

from trtbuild.errors import UsageError
from trtbuild_measure.bench.export import aiperf_commands
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.targets import parse_target
from trtbuild_measure.jobs.bench.targets import choose_endpoint


def commands(options: BenchOptions, tool: str) -> list[str]:
    """Return a command line of ``tool`` for each target and load, or raise without any.

    Raises:
        UsageError: A tool other than AIPerf, or something that it cannot measure.
    """
    if tool != "aiperf":
        raise UsageError(f"unknown --export {tool!r}", fix="--export aiperf")
    if options.prompts is not None:
        raise UsageError(
            "AIPerf cannot read the format of --prompts",
            where=f"--prompts {options.prompts}",
            fix="use --prompt-tokens, --shared-prefix or --trace, which can be exported",
        )
    if options.sweep:
        raise UsageError(
            "a sweep cannot be exported: it runs many loads",
            fix="export the --rate that the sweep found",
        )
    targets = [parse_target(text) for text in options.addresses]
    if not targets:
        raise UsageError("nothing to export", fix="name an openai:http://… target")
    endpoint = choose_endpoint(targets, options.endpoint, chat=options.chat)
    return list(aiperf_commands(options, targets, endpoint))
