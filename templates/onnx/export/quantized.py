"""A graph in a smaller number format, by ONNX Runtime's own tools."""

import onnx


def write(path, kind):
    """Replace the graph at ``path`` by one with ``int8`` or ``fp16`` weights."""
    outside = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    made = path.with_name("quantized.onnx")
    (_int8 if kind == "int8" else _fp16)(path, made, external=len(outside) > 1)
    for file in outside:
        file.unlink()
    model = onnx.load(made)
    for file in list(path.parent.glob(f"{made.name}*")):
        file.unlink()
    onnx.save(model, path, save_as_external_data=len(outside) > 1, location=f"{path.name}.data")


def _int8(path, made, *, external):
    """Weights of matrix products, a scale for each column; activations are measured as they come.

    Embeddings stay: in int8 they cost more accuracy than they save.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path, made, per_channel=True, weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"], use_external_data_format=external,
    )  # fmt: skip


def _fp16(path, made, *, external):
    """Everything but the inputs and outputs."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    onnx.save(model, made, save_as_external_data=external, location=f"{made.name}.data")
