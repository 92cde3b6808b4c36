"""Parts: Parquet files with an explicit schema, published at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.errors import BuildError
from trtbuild_batch.engine import Outcome, Receipt
from trtbuild_batch.places import Place

if TYPE_CHECKING:
    from pyarrow import Schema, Table

OWN = (
    "row", "id", "output", "finish_reason", "prompt_tokens", "completion_tokens", "attempts",
    "latency_ms", "error", "error_kind",
)  # fmt: skip
"""Columns of ours; a column of the input that is kept has another name."""
_STATS = b"trtbuild"
_TOO_MANY = 1 << 53  # tokens; the sum of the rows must fit, too


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the output.

    Attributes:
        output: ``text``, ``json``, ``vector`` or ``scores``.
        id: The column of the input that has the rows' ids; empty without.
        keep: Columns of the input that are copied, with their Arrow types; None for text.
        dimension: Numbers of a vector.
    """

    output: str
    id: str = ""
    keep: Mapping[str, Any] = field(default_factory=dict)
    dimension: int = 0

    def schema(self) -> Schema:
        """Return the schema of every part.

        It is written out: inferred from a part without errors, the type of ``error`` would be
        null, and Arrow could not read the directory as one table.
        """
        import pyarrow as pa

        number = pa.float32()
        outputs = {
            "vector": pa.list_(number, self.dimension) if self.dimension else pa.list_(number),
            "scores": pa.list_(number),
        }
        fields = [("row", pa.int64())]
        if self.id:
            fields.append(("id", pa.string()))
        fields += [(name, kind or pa.string()) for name, kind in self.keep.items()]
        fields += [
            ("output", outputs.get(self.output, pa.string())),
            ("finish_reason", pa.string()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("attempts", pa.int32()),
            ("latency_ms", pa.float32()),
            ("error", pa.string()),
            ("error_kind", pa.string()),
        ]
        return pa.schema(fields)

    def kept(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what of an input row goes to the output: its id, and the columns to keep."""
        found = [values.get(self.id)] if self.id else []
        return (*found, *(values.get(name) for name in self.keep))

    def table(self, rows: Sequence[tuple[int, tuple[Any, ...], Receipt]]) -> Table:
        """Return the table of rows: number, kept values, receipt."""
        import pyarrow as pa

        schema = self.schema()
        kept = [name for name in schema.names if name not in OWN or name == "id"]
        columns: dict[str, Any] = {"row": [number for number, _, _ in rows]}
        for at, name in enumerate(kept):
            columns[name] = cast([values[at] for _, values, _ in rows], schema.field(name).type)
        receipts = [receipt for _, _, receipt in rows]
        outcomes = [receipt.outcome or _NOTHING for receipt in receipts]
        columns["output"] = self._outputs([one.output for one in outcomes])
        columns["finish_reason"] = [one.finish_reason or None for one in outcomes]
        columns["prompt_tokens"] = [_counted(one.prompt_tokens) for one in outcomes]
        columns["completion_tokens"] = [_counted(one.completion_tokens) for one in outcomes]
        columns["attempts"] = [one.attempts for one in receipts]
        columns["latency_ms"] = [one.latency_ms for one in receipts]
        columns["error"] = [one.error or None for one in receipts]
        columns["error_kind"] = [one.kind or None for one in receipts]
        for name in schema.names:
            if schema.field(name).type == pa.string() and name not in kept:
                columns[name] = [one and _valid(one) for one in columns[name]]
        return pa.table(columns, schema=schema)

    def _outputs(self, values: list[Any]) -> Any:
        if self.output not in ("vector", "scores"):
            return values
        import numpy as np

        return [None if one is None else np.frombuffer(one, dtype="<f4") for one in values]


_NOTHING = Outcome(None)


def _counted(tokens: int | None) -> int | None:
    """Return a server's count of tokens; None for one that the column cannot hold."""
    return tokens if tokens is not None and 0 <= tokens < _TOO_MANY else None


def cast(values: Sequence[Any], kind: Any) -> Sequence[Any]:
    """Return values for a column: in one of texts, a value that is none is written as JSON."""
    import pyarrow as pa

    if kind != pa.string():
        return values
    return [
        None if one is None else _valid(one if isinstance(one, str) else _text(one))
        for one in values
    ]


def _valid(text: str) -> str:
    """Return text that UTF-8 has: JSON may hold half of a pair of surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


def name_of(number: int) -> str:
    """The file name of a part."""
    return f"part-{number:05d}.parquet"


def number_of(name: str) -> int | None:
    """The number of a part by its file name; None for another file."""
    stem = name.removeprefix("part-").removesuffix(".parquet")
    sound = name == f"part-{stem}.parquet" and stem.isascii() and stem.isdigit()
    return int(stem) if sound else None


def publish(where: Place, table: Table, scratch: Path) -> None:
    """Write a part so that readers see all of it or nothing, even after a crash.

    Raises:
        BuildError: The disk is full, or the object store does not answer.
    """
    import pyarrow.parquet as pq

    table = table.replace_schema_metadata({_STATS: _counts(table)})
    with where.replaced(scratch) as path:
        pq.write_table(table, path, compression="zstd")


def _counts(table: Table) -> bytes:
    import json

    import pyarrow.compute as pc

    found = {
        "rows": table.num_rows,
        "errors": table.num_rows - table["error"].null_count,
        "prompt_tokens": pc.sum(table["prompt_tokens"]).as_py() or 0,
        "completion_tokens": pc.sum(table["completion_tokens"]).as_py() or 0,
    }
    return json.dumps(found).encode()


def counts(where: Place) -> dict[str, int]:
    """Return rows, errors and tokens of a part, from its footer.

    Raises:
        BuildError: It is not one of our parts.
    """
    import json

    import pyarrow.parquet as pq

    try:
        with where.opened() as stream:
            found = json.loads(pq.read_schema(stream).metadata[_STATS])
        return {name: int(value) for name, value in found.items()}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise damaged(where, error) from None


def read(where: Place, layout: Layout) -> list[tuple[int, Receipt]]:
    """Return the rows of a part as receipts.

    Raises:
        BuildError: It cannot be read.
    """
    import numpy as np
    import pyarrow.parquet as pq

    numbers = layout.output in ("vector", "scores")
    try:
        with where.opened() as stream:
            table = pq.read_table(stream)
        rows = table.to_pylist()
    except (OSError, ValueError) as error:
        raise damaged(where, error) from None
    found = []
    for row in rows:
        output, failed = row["output"], row["error"]
        if output is not None and numbers:
            output = np.array(output, dtype="<f4").tobytes()
        tokens = (row["prompt_tokens"], row["completion_tokens"])
        outcome = None if failed else Outcome(output, row["finish_reason"] or "", *tokens)
        receipt = Receipt(
            outcome, row["attempts"], row["latency_ms"], failed or "", row["error_kind"] or ""
        )
        found.append((int(row["row"]), receipt))
    return found


def damaged(where: Place, error: Exception) -> BuildError:
    """Return the error for a part that cannot be read."""
    return BuildError(
        f"{where} is not a part that trtbuild wrote, or it is damaged: {error}",
        fix="remove it and run the command again: its rows are computed again",
    )
