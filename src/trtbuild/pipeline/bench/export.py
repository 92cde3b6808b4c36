"""A benchmark's options in the words of another tool."""

from __future__ import annotations

from trtbuild.bench.export import aiperf_commands
from trtbuild.bench.options import BenchOptions
from trtbuild.bench.targets import parse_target
from trtbuild.errors import UsageError
from trtbuild.pipeline.bench.targets import choose_endpoint


def commands(options: BenchOptions, tool: str) -> list[str]:
    """A command line of ``tool`` for each target and load: all of them, or an error and none.

    Raises:
        UsageError: Another tool than AIPerf, or something that it cannot measure.
    """
    if tool != "aiperf":
        raise UsageError(f"--export {tool!r} is not known", fix="--export aiperf")
    if options.prompts is not None:
        raise UsageError(
            "AIPerf reads prompts of another form than --prompts",
            where=f"--prompts {options.prompts}",
            fix="leave it out: --prompt-tokens, --shared-prefix and --trace can be exported",
        )
    if options.sweep:
        raise UsageError("a sweep is many runs", fix="export the --rate that it found")
    targets = [parse_target(text) for text in options.addresses]
    if not targets:
        raise UsageError("nothing to export", fix="name an openai:http://… target")
    endpoint = choose_endpoint(targets, options.endpoint, chat=options.chat)
    return list(aiperf_commands(options, targets, endpoint))
