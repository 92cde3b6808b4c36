"""The graph, as it will be served, against the reference implementation."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import text_rows
import text_tasks

_SHOWN = 3
_EXACT = 1e-3


@dataclass
class Found:
    """The reference's rows by use and item, the worst differences, and what is beyond a limit."""

    rows: list
    worst: dict
    problems: list = field(default_factory=list)


class Served:
    """What the served model computes, by the code that it runs, without Triton."""

    def __init__(self, folder, out, settings, core=None):
        self._settings = settings
        self._texts = text_rows.Texts(folder, settings)
        self._rows = text_rows.Rows(settings, core or graph(out, settings["output"]))

    def rows(self, items, use):
        """The rows of items that are sent in one request."""
        columns = list(zip(*items, strict=True)) if isinstance(items[0], tuple) else [items]
        names = ("query", "passage") if self._settings["head"] == "score" else ("text", "text_pair")
        given = dict(zip(names, map(list, columns), strict=False))
        work = text_tasks.prepare(self._settings, given, {"input_type": use})
        tokens = self._texts.encode(work.items, work.truncate, work.use, work.prompt)
        rows = self._rows.run(tokens)
        return [
            row if one.kept is None else row[one.kept]
            for row, one in zip(rows, tokens, strict=True)
        ]


def graph(out, output):
    """The graph in ``out`` as a function of its inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(Path(out) / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return lambda inputs: session.run([output], inputs)[0]


def against(folder, out, settings, items, *, limits, given=None, core=None):
    """Compare every item alone and all in one ragged request.

    The numbers of a batch come from ``core``, or from the graph in ``out``.

    A graph that was given has no weights to compute a reference from: the reference is ``given``,
    the graph as it came, with every item alone.
    """
    served = Served(folder, out, settings, core)
    if given:
        before = Served(folder, out, settings, given)
        wanted = [before.rows([item], "")[0] for item in items]
        rows = {
            "alone": [served.rows([item], "")[0] for item in items],
            "in a batch": served.rows(items, ""),
        }
        return compared("", items, wanted, rows, limits)
    import reference

    known = reference.of(settings)(folder, settings)
    found = None
    for use in uses(settings):
        wanted = list(known.rows(items, use))
        rows = {
            "alone": [served.rows([item], use)[0] for item in items],
            "in a batch": served.rows(items, use),
        }
        part = compared(use, items, wanted, rows, limits)
        found = part if found is None else _joined(found, part)
    return found


def uses(settings):
    """The values of ``input_type`` with which the answers differ."""
    sided = settings["prompts"] or settings["query_tokens"] or settings["skip_words"]
    return ["", *(("query", "passage") if sided else ())]


def _joined(one, other):
    worst = {
        name: (max if name == "max_abs" else min)(value, other.worst.get(name, value))
        for name, value in one.worst.items()
    }
    return Found([*one.rows, *other.rows], worst, [*one.problems, *other.problems])


def compared(use, items, wanted, rows, limits):
    """What is beyond the limits, worst first."""
    bad, most, nears = [], 0.0, []
    # A server that computes the same in a smaller number format is not the reference.
    exact = limits.get("max_abs", 1) <= _EXACT
    kept = wanted if exact else rows.get("alone", wanted)
    known = [(use, item, row) for item, row in zip(items, kept, strict=True)]
    for how, found in rows.items():
        for item, *both in zip(items, wanted, found, strict=True):
            expected, row = map(np.ravel, both)
            if len(row) != len(expected):
                line = f"{len(row)} numbers are served and the reference has {len(expected)}"
                return Found(known, {"max_abs": float("inf"), "cosine": 0.0}, [line])
            # Rounding grows with the numbers, which are not all of length 1.
            scale = max(1.0, float(np.abs(expected).max())) if "cosine" in limits else 1.0
            off, near = float(np.abs(row - expected).max()) / scale, _cosine(row, expected)
            most = max(most, off)
            nears.append(near)
            same = np.mean(np.argmax(both[0], axis=-1) == np.argmax(both[1], axis=-1))
            best = same >= limits.get("best", 0)
            if off > limits.get("max_abs", np.inf) or near < limits.get("cosine", -1) or not best:
                as_ = f" as {use}" if use else ""
                what = str(item)[:40]
                bad.append((off, f"{what!r} {how}{as_}: off by {off:.2g}, cosine {near:.6f}"))
    bad.sort(key=lambda row: -row[0])
    lines = [line for _, line in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"{len(bad)} of {len(rows) * len(items)} answers differ")
    worst = {"max_abs": most, "cosine": min(nears), "mean_cosine": float(np.mean(nears))}
    if worst["mean_cosine"] < limits.get("mean_cosine", -1):
        lines.append(f"the mean cosine is {worst['mean_cosine']:.4f}")
    if "order" in limits and np.size(wanted[0]) == 1:
        worst["order"] = min(_order(np.ravel(wanted), np.ravel(found)) for found in rows.values())
        if worst["order"] < limits["order"]:
            lines.append(f"the order of scores agrees by {worst['order']:.3f} (Kendall's tau)")
    return Found(known, worst, lines)


def _order(one, other):
    """Kendall's tau, in which equal scores have no order."""
    signs = [np.sign(values[:, None] - values) for values in (one, other)]
    pairs = np.abs(signs[0]).sum()
    return float((signs[0] * signs[1]).sum() / pairs) if pairs else 1.0


def _cosine(one, other):
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.dot(one, other)) / size if size > 1e-12 else float(np.array_equal(one, other))
