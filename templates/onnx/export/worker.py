"""Export a checkpoint to ONNX and compare it with the reference. Runs in an environment of its own.

    python worker.py JOB.json

Progress goes to standard output as JSON, a line each, and everything else that is printed is for
the log. Nothing of the checkpoint is run: ``trust_remote_code`` stays off and only safetensors are
loaded.
"""

import json
import shutil
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_TEXT = _HERE.parent.parent / "text"
sys.path[:0] = [str(_HERE), *(str(_TEXT / part) for part in ("model", "check", "torch"))]

from accuracy import check, say  # noqa: E402

GRAPH = "model.onnx"


def main(path):
    """Export or take the graph, then compare."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    folder, out, settings = Path(job["model"]), Path(job["out"]), job["settings"]
    if job["given"]:
        _take(folder / job["given"], out)
        if job["runtime"]:
            require_read(out / GRAPH, job["runtime"])
    else:
        _export(folder, out, job)
    given = _given(out, job) if job["given"] and job["check"] else None
    if job["quantize"]:
        say(step=f"quantizing the graph to {job['quantize']}")
        import quantized

        quantized.write(out / GRAPH, job["quantize"])
    _tokenizers(out / "tokenizers")
    said = describe(out / GRAPH, settings, job["graph"]["pooling"] if job["given"] else [])
    (out / "graph.json").write_text(json.dumps(said), encoding="utf-8")
    if job["check"]:
        check(folder, out, {**settings, **said}, job, given=given)
    say(step="done")


def _given(out, job):
    """The graph as it came, which what is served is compared with: quantized or batched."""
    import compare

    said = describe(out / GRAPH, job["settings"], job["graph"]["pooling"])
    return compare.graph(out, said["output"])


def _export(folder, out, job):
    say(step="loading PyTorch and transformers")
    import graph
    import text_heads

    module = text_heads.load(folder, job["settings"]["head"], job["graph"])
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    say(step="exporting the graph to ONNX")
    settings = job["settings"]
    limit = settings["max_tokens"] or 4096
    graph.export(
        module,
        text_heads.inputs(folder, module, settings),
        out / GRAPH,
        opset=job["opset"],
        limit=limit,
        external=size > job["external_above"],
    )


def _take(path, out):
    """A graph that the checkpoint brings, with the files of its weights beside it."""
    import onnx

    shutil.copyfile(path, out / GRAPH)
    model = onnx.load(path, load_external_data=False)
    tensors = onnx.external_data_helper._get_all_tensors(model)
    names = {
        row.value for tensor in tensors for row in tensor.external_data if row.key == "location"
    }
    for name in sorted(names):
        if Path(name).name != name or not (path.parent / name).is_file():
            sys.exit(f"ERROR: the weights of {path.name} are not beside it: {name}")
        shutil.copyfile(path.parent / name, out / name)


def require_read(path, runtime):
    """Exit for a graph that is newer than the release's ONNX Runtime."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    opset = max(row.version for row in model.opset_import if row.domain in ("", "ai.onnx"))
    for what, found, known in (
        ("opset", opset, runtime["opset"]),
        ("IR version", model.ir_version, runtime["ir"]),
    ):
        if found > known:
            sys.exit(
                f"ERROR: the graph has {what} {found}, and {runtime['name']} reads up to {known}: "
                "export it with an older opset, or serve a newer release (--triton)"
            )


def _tokenizers(target):
    """The package that the served model tokenizes with."""
    import tokenizers

    home = Path(tokenizers.__file__).parent
    for path in sorted([*home.rglob("*.py"), *home.rglob("*.so")]):
        place = target / path.relative_to(home)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def describe(path, settings, pooling):
    """Inputs and output of a graph as the served model needs them."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in initial}
    unknown = sorted(
        inputs.keys() - {"input_ids", "attention_mask", "token_type_ids", "pooling_mask"}
    )
    if unknown or "input_ids" not in inputs:
        sys.exit(f"ERROR: the graph's inputs are not those of a text model: {', '.join(inputs)}")
    for name, value in inputs.items():
        fixed = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.dim_value]
        if fixed:
            sys.exit(
                f"ERROR: the graph's input {name} has a fixed size ({fixed[0]}): export it with "
                "dynamic axes for batch and sequence"
            )
    outputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.output}
    wanted = (
        "sentence_embedding", "embeddings", "sparse_embeddings", "logits", "last_hidden_state",
        "token_embeddings",
    )  # fmt: skip
    name = next((one for one in wanted if one in outputs), next(iter(outputs)))
    shape = outputs[name]
    pads = settings["inputs"] | {"token_type_ids": settings["inputs"].get("token_type_ids", 0)}
    return {
        "inputs": {name: pads.get(name, 0) for name in inputs},
        "output": name,
        "output_dims": [dim.dim_value or -1 for dim in shape][1:],
        "pooling": pooling if len(shape) == 3 else [],
        "opset": max(row.version for row in model.opset_import if row.domain in ("", "ai.onnx")),
    }


if __name__ == "__main__":
    main(sys.argv[1])
