"""``trtbuild bench``: how fast a served model is, against what, and what limits it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from trtbuild.pipeline.bench import BenchOptions, Outcome

_EPILOG = """
Examples

  trtbuild bench triton:grpc://127.0.0.1:8001/smollm2 --concurrency 1,4,16

  trtbuild bench triton:grpc://127.0.0.1:8001/smollm2 --baseline fastapi --concurrency 1,4,8,16

  trtbuild bench openai:http://127.0.0.1:9000/v1#mock --requests 50 --tokenizer ./tok --out r.json

  trtbuild bench openai:http://127.0.0.1:9000/v1#m --rate 8 --slo ttft=500ms,itl=50ms --sweep

  trtbuild bench compare before.json after.json

All options: trtbuild bench run --help
"""

_RUN_EPILOG = """
Targets

  triton:grpc://HOST:PORT/MODEL, triton:http://HOST:PORT/MODEL, openai:http://HOST:PORT/v1#MODEL,
  baseline:fastapi, baseline:fastapi-batched; NAME= before one gives it a name of its own.

Examples

  trtbuild bench triton:grpc://127.0.0.1:8001/smollm2 --concurrency 1,4,16 --html report.html

  trtbuild bench A=openai:http://127.0.0.1:9000/v1#m B=openai:http://127.0.0.1:9001/v1#m

  trtbuild bench triton:http://127.0.0.1:8000/m --rate 2,4,8 --arrivals constant --duration 60
"""


class _DefaultsToRun(TyperGroup):
    """``bench TARGET…`` is ``bench run TARGET…``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the base class."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        cls=_DefaultsToRun,
        help="Measure a served model: latencies, throughput, goodput, what limits it.",
        epilog=_EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("run", epilog=_RUN_EPILOG)(run)
    from trtbuild.cli.bench import results

    results.register(group)
    app.add_typer(group, name="bench")


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="What to measure; several take turns.")
    ] = None,
    *,
    baseline: Annotated[
        str, typer.Option(help="Also measure a naive service of the same checkpoint: fastapi.")
    ] = "",
    concurrency: Annotated[
        str, typer.Option(help="Closed loop: numbers of clients, such as 1,4,16.")
    ] = "",
    rate: Annotated[str, typer.Option(help="Open loop: requests a second, such as 2,4,8.")] = "",
    arrivals: Annotated[str, typer.Option(help="Open loop: poisson or constant.")] = "poisson",
    trace: Annotated[
        Path | None, typer.Option(help="Open loop at the times and lengths of a JSONL file.")
    ] = None,
    slo: Annotated[str, typer.Option(help="Objectives, such as ttft=500ms,itl=50ms.")] = "",
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Find the highest rate that holds --slo.")
    ] = False,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Measured requests of each load.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of each load instead.")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(min=0, help="Requests before, not counted; one a client.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Blocks of each load; targets take turns between."),
    ] = None,
    prompt_tokens: Annotated[
        str, typer.Option(help="Length of prompts: 128, 128,512, uniform:64:256, normal:128:32.")
    ] = "128",
    output_tokens: Annotated[str, typer.Option(help="Length of answers, written alike.")] = "64",
    natural: Annotated[
        bool, typer.Option("--natural", help="Let the model stop when it wants to.")
    ] = False,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts of a JSONL or ShareGPT file instead.")
    ] = None,
    shared_prefix: Annotated[
        int, typer.Option(min=0, help="Tokens that all prompts begin with.")
    ] = 0,
    chat: Annotated[
        bool, typer.Option("--chat", help="Prompts as a user's message, through the template.")
    ] = False,
    endpoint: Annotated[str, typer.Option(help="Of OpenAI targets: auto, chat, completions.")] = (
        "auto"
    ),
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of prompts and arrivals.")] = 0,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder with the served model's tokenizer.json.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="What a baseline serves.")] = "",
    dtype: Annotated[str, typer.Option(help="What a baseline computes in.")] = "float32",
    batch: Annotated[
        int, typer.Option(min=2, help="Requests in one batch of the batched baseline.")
    ] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a whole answer.")] = 600,
    allow: Annotated[
        list[str] | None, typer.Option(help="Compare in spite of a difference; repeatable.")
    ] = None,
    metrics_url: Annotated[
        str, typer.Option(help="The server's /metrics, where it is not found by itself.")
    ] = "",
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable with the key of OpenAI targets.")
    ] = "",
    usd_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price of the server's machine, for the report's cost."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the result as JSON, after each load what there is.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report.")] = None,
    export: Annotated[
        str, typer.Option(help="Print another tool's command instead of measuring: aiperf.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure one or more targets under one or more loads.

    Ctrl-C and SIGTERM end it with what was measured, exit code 130 and 143.
    """
    from trtbuild.bench.loads import Limits
    from trtbuild.bench.metrics.goodput import parse_slo
    from trtbuild.bench.model import Generation
    from trtbuild.cli.bench.options import baselines, loads, require
    from trtbuild.pipeline.bench import BenchOptions
    from trtbuild.pipeline.bench.prompts import PromptOptions

    require(sweep=sweep, slo=slo, rate=rate, trace=trace, chat=chat, usd_per_hour=usd_per_hour)
    options = BenchOptions(
        targets=(*(targets or ()), *baselines(baseline)),
        loads=loads(concurrency, rate, arrivals, trace),
        limits=Limits(requests, duration, warmup),
        prompts=PromptOptions(
            prompt_tokens, output_tokens, shared_prefix, prompts, trace, chat, seed
        ),
        generation=Generation(temperature, seed if temperature else None, not natural),
        slo=parse_slo(slo),
        sweep=sweep,
        rounds=rounds,
        tokenizer=tokenizer,
        checkpoint=checkpoint,
        dtype=dtype,
        batch=batch,
        endpoint=endpoint,
        timeout=timeout,
        allow=tuple(allow or ()),
        api_key_env=api_key_env,
        metrics_url=metrics_url,
        usd_per_hour=usd_per_hour,
    )
    if export:
        _export(options, export)
        return
    _finish(_measure(options, out, html), out, html, as_json=as_json)


def _measure(options: BenchOptions, out: Path | None, html: Path | None) -> Outcome:
    from trtbuild.cli.bench.options import writable
    from trtbuild.cli.bench.view import display
    from trtbuild.pipeline.bench import run as measure

    writable("--out", out)
    writable("--html", html)

    def keep(result: dict[str, Any]) -> None:
        """What there is, should we be killed; a full disk is told at the end, not in between."""
        if out is not None:
            with contextlib.suppress(OSError):
                _write_json(out, result)

    with display() as (progress, on_tick):
        return measure(options, progress=progress, on_tick=on_tick, on_result=keep)


def _write_json(out: Path, result: dict[str, Any]) -> None:
    import json

    from trtbuild.files import atomic_write

    atomic_write(out, (json.dumps(result, ensure_ascii=False, indent=1) + "\n").encode())


def _finish(outcome: Outcome, out: Path | None, html: Path | None, *, as_json: bool) -> None:
    from trtbuild.cli.bench.view import show
    from trtbuild.cli.output import print_json
    from trtbuild.endings import exit_code
    from trtbuild.errors import BenchError

    result = outcome.result
    unwritten = _write(result, out, html)
    if as_json:
        print_json(result)
    else:
        show(result)
        for path in (path for path in (out, html) if path is not None and path not in unwritten):
            typer.secho(f"wrote {path}", err=True, dim=True)
    if outcome.signal:
        raise typer.Exit(exit_code(outcome.signal))
    if outcome.error is not None:
        raise outcome.error
    for path, why in unwritten.items():
        raise BenchError(
            f"the result could not be written: {why}",
            where=str(path),
            fix="it is on the screen; with --json it is whole on standard output",
        )


def _write(result: dict[str, Any], out: Path | None, html: Path | None) -> dict[Path, str]:
    """Why each file that could not be written was not: what was measured is still to be shown."""
    from trtbuild.bench.report import render
    from trtbuild.files import atomic_write

    found: dict[Path, str] = {}
    for path, is_page in ((out, False), (html, True)):
        if path is None:
            continue
        try:
            if is_page:
                atomic_write(path, render(result).encode())
            else:
                _write_json(path, result)
        except OSError as error:
            found[path] = error.strerror or str(error)
        except Exception as error:  # a page that cannot be drawn must not cost the figures
            found[path] = f"{type(error).__name__}: {error}"
    return found


def _export(options: BenchOptions, tool: str) -> None:
    from trtbuild.bench.export import Measurement, aiperf_commands
    from trtbuild.bench.targets import parse_target
    from trtbuild.errors import UsageError
    from trtbuild.pipeline.bench.targets import choose_endpoint

    if tool != "aiperf":
        raise UsageError(f"nothing is known of {tool!r}", fix="--export aiperf")
    if options.prompts.file is not None:
        raise UsageError(
            "AIPerf reads prompts of another form than --prompts",
            where=f"--prompts {options.prompts.file}",
            fix="leave it out: --prompt-tokens, --shared-prefix and --trace can be exported",
        )
    if options.sweep:
        raise UsageError("a sweep is many runs", fix="export the --rate that it found")
    targets = [parse_target(text) for text in options.targets]
    if not targets:
        raise UsageError("nothing to export", fix="name an openai:http://… target")
    asked = Measurement(
        targets,
        options.loads,
        options.limits,
        options.generation,
        endpoint=choose_endpoint(targets, options.endpoint, chat=options.prompts.chat),
        prompt_tokens=options.prompts.prompt_tokens,
        output_tokens=options.prompts.output_tokens,
        seed=options.prompts.seed,
        timeout=options.timeout,
        shared_prefix=options.prompts.shared_prefix,
        trace=options.prompts.trace,
        tokenizer=options.tokenizer,
        slo=options.slo,
        api_key_env=options.api_key_env,
    )
    for line in list(aiperf_commands(asked)):  # all of them, or an error and none
        typer.echo(line)
