"""Client code for a model, from templates (``templates/clients``)."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trtbuild.resources import template_dir

if TYPE_CHECKING:
    from jinja2 import Environment

FILES = {"grpc": "grpc.py.j2", "http": "http.py.j2", "curl": "curl.sh.j2"}

# By Triton type: its name in the protocol, numpy's name, an example value.
_TYPES: Mapping[str, tuple[str, str, Any]] = {
    "TYPE_BOOL": ("BOOL", "bool", True),
    "TYPE_UINT8": ("UINT8", "np.uint8", 1),
    "TYPE_UINT16": ("UINT16", "np.uint16", 1),
    "TYPE_UINT32": ("UINT32", "np.uint32", 1),
    "TYPE_UINT64": ("UINT64", "np.uint64", 1),
    "TYPE_INT8": ("INT8", "np.int8", 1),
    "TYPE_INT16": ("INT16", "np.int16", 1),
    "TYPE_INT32": ("INT32", "np.int32", 1),
    "TYPE_INT64": ("INT64", "np.int64", 1),
    "TYPE_FP16": ("FP16", "np.float16", 1.0),
    "TYPE_BF16": ("BF16", "np.float32", 1.0),
    "TYPE_FP32": ("FP32", "np.float32", 1.0),
    "TYPE_FP64": ("FP64", "np.float64", 1.0),
    "TYPE_STRING": ("BYTES", "object", "text"),
}


GENERIC = "generic"
"""The templates for a model of any tensors."""
TASK = "task"
"""The templates for a task with a row of tensors for each item."""


def clients(
    kind: str,
    *,
    name: str,
    decoupled: bool,
    batching: bool,
    inputs: Sequence[tuple[str, str, tuple[int, ...]]],
    outputs: Sequence[str],
    grpc_url: str,
    http_url: str,
    schema: str = "",
    **more: Any,
) -> dict[str, str]:
    """Return client code by protocol for ``kind``, a directory of ``templates/clients``.

    ``inputs`` are ``(name, type, dims)`` of the required inputs. ``schema`` is the request schema,
    and ``more`` are values that it has for its templates.
    """
    rows = [_row(*tensor, batching=batching) for tensor in inputs]
    values = {
        "name": name,
        "decoupled": decoupled,
        "batching": batching,
        "required": rows,
        "outputs": list(outputs),
        "inputs_json": [
            {"name": r["name"], "shape": r["shape"], "datatype": r["wire"], "data": r["data"]}
            for r in rows
        ],
        "body": {r["name"]: r["data"][0] if len(r["data"]) == 1 else r["data"] for r in rows},
        "grpc_url": grpc_url,
        "http_url": http_url,
        **more,
        **(_task(schema, outputs, batching=batching) if kind == TASK else {}),
    }
    environment = _environment()
    return {
        protocol: environment.get_template(f"{kind}/{file}").render(values).strip() + "\n"
        for protocol, file in FILES.items()
    }


@cache
def tasks() -> Mapping[str, Mapping[str, Any]]:
    """Return the functions of client code by request schema; another package's has none."""
    path = template_dir("clients") / TASK / "tasks.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _task(schema: str, outputs: Sequence[str], *, batching: bool) -> dict[str, Any]:
    """Return the values of a task, with only those outputs that the model has."""
    known = tasks()[schema]
    task = {"files": False, **known, "outputs": [n for n in known["outputs"] if n in outputs]}
    listed = [one for one in task["example"] if isinstance(one, list)][-1]
    single = [one for one in task["example"] if isinstance(one, str)]
    columns = [*(len(listed) * [one] for one in single)]
    columns += [one for one in task["example"] if isinstance(one, list)]
    shape = [len(listed), 1] if batching else [len(listed)]
    rows = zip(task["inputs"], columns, strict=True)
    example = [
        {"name": name, "shape": shape, "datatype": "BYTES", "data": data} for name, data in rows
    ]
    return {"task": task, "example_json": example}


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - it writes Python and shell, quoted by the filters
        loader=FileSystemLoader(template_dir("clients")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "py": repr,
        "sh": shlex.quote,
        "url": quote,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
        "doc": lambda text: text.replace("\\", "\\\\").replace('"', "'"),
    }
    return environment


def _row(name: str, kind: str, dims: tuple[int, ...], *, batching: bool) -> dict[str, Any]:
    wire, numpy, example = _TYPES.get(kind, ("FP32", "np.float32", 1.0))
    shape = [1] * batching + [1 if size < 0 else size for size in dims]
    elements = 1
    for size in shape:
        elements *= size
    return {
        "name": name,
        "wire": wire,
        "numpy": numpy,
        "example": example.encode() if isinstance(example, str) else example,
        "shape": shape,
        "data": [example] * min(elements, 64),
    }
