"""The export of a module to ONNX, with transformers' own exporter."""

import torch


def export(module, sample, axes, path, *, opset, external):
    """Write ``module`` as ONNX; ``axes`` are the free ones of each input of ``sample``."""
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    config = OnnxConfig(
        output_path=str(path),
        opset_version=opset,
        external_data=external,
        dynamic_shapes=dict.fromkeys(sample, axes),
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    with torch.no_grad():
        OnnxExporter().export(module, sample, config)


def texts(names, limit):
    """Padded texts, with free batch and length."""
    from torch.export import Dim

    ids = torch.randint(5, 20, (2, 7), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    values = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}
    axes = {0: Dim("batch", min=1, max=1024), 1: Dim("sequence", min=1, max=limit)}
    return {name: values.get(name, mask) for name in names}, axes


def images(shape):
    """Images of one size, with a free batch."""
    from torch.export import Dim

    return {"pixel_values": torch.rand(2, *shape)}, {0: Dim("batch", min=1, max=1024)}
