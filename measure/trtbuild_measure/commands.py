"""The commands that measure, as the program lists them; each module is imported when it runs."""

from trtbuild.cli.commands import Command

bench = Command(
    "bench",
    "Measure a served model: latencies, throughput, goodput, what limits it.",
    "trtbuild_measure.cli.bench",
    after="infer",
)
cost = Command(
    "cost",
    "Price a million tokens on your own GPUs against an API's, with the break-even volume.",
    "trtbuild_measure.cli.cost",
    after="eval",
)
eval = Command(
    "eval",
    "Measure how good a served model is: its rankings, and its answers against recorded ones.",
    "trtbuild_measure.cli.evaluation",
    after="bench",
)
