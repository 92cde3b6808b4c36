"""Comparability checks: every reason why two targets may not be compared, before and after a run.

Before: the same greedy prompts go to each target, one at a time, and the answers are compared.
After: the measured requests must have had the same lengths. A single target is never refused;
what would prevent a comparison is only a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.loads.model import Prompts, now
from trtbuild_measure.bench.model import BenchTarget, Prompt, Stream, Timeline

PROBES = 3
PROBE_TOKENS = 16
_PROBE_NUMBERS = 1 << 50
_SAME_BEGINNING = 4  # tokens; beyond this, rounding may make greedy texts diverge
LENGTHS = 0.02  # relative difference of mean output lengths
_NOTED = 0.01  # of the same; below it text that two sequences of tokens share explains it
_BUNDLE = 2.0  # tokens of a first chunk above which its reader should know
_COUNTS = 0.1  # relative difference of the tokenizer's and the server's counts

KINDS = ("texts", "inputs", "lengths", "echo", "precision", "sampling")
"""What ``--allow`` may name."""


@dataclass(frozen=True, slots=True)
class Objection:
    """A reason not to compare; ``kind`` is one of :data:`KINDS`."""

    kind: str
    text: str


@dataclass(slots=True)
class Probe:
    """One target's answers to the greedy prompts."""

    name: str
    precision: str = ""
    texts: list[str] = field(default_factory=list)
    lines: list[Timeline] = field(default_factory=list)
    inputs: list[int | None] = field(default_factory=list)
    error: str = ""
    echoes: bool = False
    ignored: tuple[str, ...] = ()


async def probe(target: BenchTarget, prompts: Prompts, counter: Counter, precision: str) -> Probe:
    """Ask a few short questions, one after another."""
    found = Probe(target.name, precision, ignored=target.ignored)
    echoes = counter.echoes
    for number in range(PROBES):
        asked = prompts(_PROBE_NUMBERS + number)
        short = Prompt(asked.text, asked.tokens, PROBE_TOKENS, asked.messages)
        stream = Stream(short, intended=now())
        await target.ask(stream)
        if stream.error:
            found.error = f"{stream.error}: {stream.message}".rstrip(": ")
            break
        found.lines.append(counter.timeline(stream))
        text = "".join(stream.pieces)
        found.texts.append(text.removeprefix(asked.text) if counter.echoes > echoes else text)
        found.inputs.append(stream.input_tokens)
    found.echoes = counter.echoes > echoes
    return found


def before(probes: Sequence[Probe], counter: Counter) -> list[Objection]:
    """Return why these targets must not be compared, from their answers to the same prompts."""
    return [
        *_differ(probes, "echo", lambda one: "echoes the prompt" if one.echoes else "does not"),
        *_inputs(probes),
        *_differ(probes, "sampling", _sampling),
        *_texts(probes, counter),
        *_differ([one for one in probes if one.precision], "precision", lambda one: one.precision),
    ]


def _sampling(probe: Probe) -> str:
    return f"takes no {', '.join(probe.ignored)}" if probe.ignored else "takes all values"


def _differ(
    probes: Sequence[Probe], kind: str, describe: Callable[[Probe], str]
) -> list[Objection]:
    found = {one.name: describe(one) for one in probes}
    if len(set(found.values())) < 2:
        return []
    return [Objection(kind, f"{kind} differs: {_listed(found)}")]


def _inputs(probes: Sequence[Probe]) -> list[Objection]:
    """Compare the servers' counts of a prompt; they differ with template, BOS or tokenizer."""
    for number in range(PROBES):
        found = {
            one.name: one.inputs[number]
            for one in probes
            if len(one.inputs) > number and one.inputs[number] is not None
        }
        if len(set(found.values())) > 1:
            return [
                Objection(
                    "inputs",
                    f"the same prompt has different lengths, {_listed(found)} tokens: another "
                    "tokenizer, chat template or BOS",
                )
            ]
    return []


def _texts(probes: Sequence[Probe], counter: Counter) -> list[Objection]:
    reference = probes[0]
    found: list[Objection] = []
    for other in probes[1:]:
        pairs = list(zip(reference.texts, other.texts, strict=False))
        apart = [pair for pair in pairs if not _begin_alike(*pair, counter)]
        if len(apart) * 2 > len(pairs):
            ours, theirs = apart[0]
            found.append(
                Objection(
                    "texts",
                    f"{reference.name} and {other.name} answer the same greedy prompt differently: "
                    f"{ours[:40]!r} and {theirs[:40]!r}",
                )
            )
    return found


def _begin_alike(first: str, second: str, counter: Counter) -> bool:
    first, second = first.strip(), second.strip()
    if counter.tokenizer is None:
        return first[:12] == second[:12]
    ids = [
        counter.tokenizer.encode(text, add_special_tokens=False).ids[:_SAME_BEGINNING]
        for text in (first, second)
    ]
    return bool(ids[0] == ids[1])


def after(ledgers: Mapping[str, Ledger], load: str) -> list[Objection]:
    """Return why one load's figures must not be compared."""
    means = {
        name: ledger.tokens.output / ledger.ok
        for name, ledger in ledgers.items()
        if ledger.ok and ledger.tokens.output
    }
    if len(means) < 2 or max(means.values()) <= min(means.values()) * (1 + LENGTHS):
        return []
    listed = _listed({name: f"{mean:.1f}" for name, mean in means.items()})
    return [Objection("lengths", f"answers have different lengths at {load}: {listed} tokens")]


def warnings(name: str, ledger: Ledger) -> list[str]:
    """Return what a reader of one target's figures should know."""
    found: list[str] = []
    tokens = ledger.tokens
    if ledger.ok and ledger.counter.echoes:
        found.append(f"{name} echoes the prompt; the echo was cut off and not counted")
    if ledger.ok and ledger.failures.total:
        found.append(
            f"{ledger.failures.total} of {ledger.measured} requests to {name} failed "
            f"({ledger.failures.counted()}), such as {ledger.failures.most()}"
        )
    if tokens.uncounted:
        return [*found, f"the tokens of {name} are counted by nobody: give --tokenizer"]
    made = tokens.output + tokens.hidden
    if (
        ledger.ok
        and ledger.asked_tokens
        and abs(made - ledger.asked_tokens) > LENGTHS * ledger.asked_tokens
    ):
        found.append(
            f"{name} made {made / ledger.ok:.1f} tokens a request where "
            f"{ledger.asked_tokens / ledger.ok:.1f} were asked for"
        )
    if tokens.off_by > _COUNTS and tokens.textless:
        found.append(
            f"{tokens.textless} of {tokens.server} tokens that {name} made have no text, such as "
            "an end that was forced away (--natural lets it stop); they are not counted here"
        )
    elif tokens.off_by > _COUNTS:
        found.append(wrong_tokenizer(name, ledger))
    return [*found, *_of_streams(name, ledger)]


def _of_streams(name: str, ledger: Ledger) -> Iterator[str]:
    """Return how the form of a target's answers affects its figures."""
    tokens = ledger.tokens
    if tokens.hidden:
        yield (
            f"{name} spent {tokens.hidden / ledger.ok:.1f} hidden reasoning tokens a request: "
            "TTFT includes their time, and token rates do not count them"
        )
    if tokens.chunked and tokens.first > _BUNDLE * tokens.chunked:
        yield (
            f"{name} sends {tokens.first / tokens.chunked:.1f} tokens in its first chunk: TTFT is "
            "the time of all of them, TPOT and ITL cover the tokens after them"
        )
    if tokens.damaged:
        yield (
            f"{tokens.damaged} of {ledger.ok} answers of {name} had split characters (lone "
            "surrogates), replaced by U+FFFD; their tokens are the server's count"
        )
    elif ledger.ok and not ledger.latencies["itl_ms"].count and ledger.latencies["icl_ms"].count:
        yield f"no inter-token latency of {name}: give --tokenizer"


def counted_otherwise(name: str, ledgers: Sequence[Ledger]) -> str:
    """Return a sentence if counts differ a little over all loads of a target; else ``""``."""
    counts = [ledger.tokens for ledger in ledgers if ledger.tokens.off_by <= _COUNTS]
    total = sum(one.server for one in counts)
    share = abs(sum(one.ours for one in counts) - total) / total if total else 0.0
    if share <= _NOTED:
        return ""
    apart = sum(one.disagreeing for one in counts)
    compared = sum(one.compared for one in counts)
    return (
        f"{name} counts other tokens than the tokenizer in {apart} of {compared} requests "
        f"({share:.2%} of all tokens): some texts can be cut into tokens in several ways"
    )


def wrong_tokenizer(name: str, ledger: Ledger) -> str:
    """Return a sentence if counts are too far apart to come from one tokenizer; else ``""``."""
    tokens = ledger.tokens
    if tokens.off_by <= _COUNTS or tokens.textless:
        return ""
    return (
        f"the tokenizer is not the served one: it counts {tokens.ours} tokens in what {name} "
        f"counts as {tokens.server}"
    )


def _listed(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items())
