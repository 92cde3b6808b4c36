"""Ask ONNX Runtime and the validator about thousands of ONNX models with configurations.

    scripts/differential_onnx.py --pairs 20000 --first 0
    scripts/differential_onnx.py --operators    # the shapes of ONNX's own cases for its operators

Each pair is judged twice: by a server that completes configurations and by one that does not.
Prints one example of each kind of disagreement, and exits with 1 when there is one. Needs the
package ``onnxruntime``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.onnx_agreement import compare, operators, pairs


def main() -> int:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--operators", action="store_true")
    arguments = parser.parse_args()
    met: Counter[str] = Counter()
    if arguments.operators:
        differing = list(operators(met))
        print(*differing, dict(met), sep="\n")
        return bool(differing)
    found: dict[str, str] = {}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as repo:
        for pair in pairs(arguments.first, arguments.pairs):
            for differs in compare(pair, Path(repo), met):
                met["disagreements"] += 1
                found.setdefault(re.sub(r"'[^']*'|\[[^]]*\]|\d+", "…", differs), differs)
    for differs in found.values():
        print(differs, end="\n\n")
    print(
        f"{arguments.pairs} pairs, {met['verdicts']} verdicts, {met['refused']} refused, "
        f"{met['undecided']} undecided, {met['unquoted']} refused with another sentence, "
        f"{met['disagreements']} disagreements of {len(found)} kinds, "
        f"{1000 * (time.perf_counter() - start) / max(met['verdicts'], 1):.1f} ms per verdict"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
