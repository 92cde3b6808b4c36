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
_TEMPLATES = _HERE.parent.parent
_PARTS = ("text/model", "text/check", "text/torch", "onnx/images", "shared")
sys.path[:0] = [str(_HERE), *(str(_TEMPLATES / part) for part in _PARTS)]

import packages  # noqa: E402
from accuracy import check, say  # noqa: E402

GRAPH = "model.onnx"


def main(path):
    """Export or take the graph, then compare."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    folder, out = Path(job["model"]), Path(job["out"])
    _KINDS[job["kind"]](folder, out, job["settings"], job)
    say(step="done")


def _texts(folder, out, settings, job):
    if job["given"]:
        _take(folder / job["given"], out)
        if job["runtime"]:
            require_read(out / GRAPH, job["runtime"])
    else:
        module = _module(folder, job)
        import graph
        import text_heads

        names = text_heads.inputs(folder, module, settings)
        _export(module, *graph.texts(names, settings["max_tokens"] or 4096), out, job)
    given = _given(out, job) if job["given"] and job["check"] else None
    _quantize(out, job)
    packages.tokenizers(out)
    said = describe(out / GRAPH, settings, job["graph"]["pooling"] if job["given"] else [])
    _keep(out, said)
    if job["check"]:
        check(folder, out, {**settings, **said}, job, given=given)


def _images(folder, out, settings, job):
    module = _module(folder, job)
    import graph
    import preparing

    how, shape = preparing.how(folder, job["processors"])
    _export(module, *graph.images(shape), out, job)
    _quantize(out, job)
    packages.pillow(out, job["pythons"])
    said = {"inputs": {"pixel_values": shape}, "output": module.output, "images": how}
    _keep(out, said)
    if job["check"]:
        import check_images
        import compare
        from onnx_images import Images

        core = compare.graph(out, module.output)
        check_images.check(folder, out, Images({**settings, **said}, core), job["limits"])


def _module(folder, job):
    say(step="loading PyTorch and transformers")
    import text_heads

    return text_heads.load(folder, job["settings"]["head"], job["graph"])


def _export(module, sample, axes, out, job):
    import graph

    say(step="exporting the graph to ONNX")
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    external = size > job["external_above"]
    graph.export(module, sample, axes, out / GRAPH, opset=job["opset"], external=external)


def _quantize(out, job):
    if job["quantize"]:
        say(step=f"quantizing the graph to {job['quantize']}")
        import quantized

        quantized.write(out / GRAPH, job["quantize"])


def _keep(out, said):
    (out / "graph.json").write_text(json.dumps(said), encoding="utf-8")


def _given(out, job):
    """The graph as it came, which what is served is compared with: quantized or batched."""
    import compare

    said = describe(out / GRAPH, job["settings"], job["graph"]["pooling"])
    return compare.graph(out, said["output"])


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


_KINDS = {"texts": _texts, "images": _images}

if __name__ == "__main__":
    main(sys.argv[1])
