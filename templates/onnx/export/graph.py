"""The export of a module to ONNX, with transformers' own exporter."""

import torch


def export(module, names, path, *, opset, limit, external):
    """Write ``module`` as ONNX with free batch and length."""
    from torch.export import Dim
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    ids = torch.randint(5, 20, (2, 7), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    values = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}
    sample = {name: values.get(name, mask) for name in names}
    axes = {0: Dim("batch", min=1, max=1024), 1: Dim("sequence", min=1, max=limit)}
    config = OnnxConfig(
        output_path=str(path),
        opset_version=opset,
        external_data=external,
        dynamic_shapes=dict.fromkeys(names, axes),
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    with torch.no_grad():
        OnnxExporter().export(module, sample, config)
