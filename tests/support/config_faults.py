"""Faults of a ``config.pbtxt``: the rule, the place, the words of the server.

The validator is tested on them one by one, and a real server is asked about all of them.
"""

from __future__ import annotations

PYTHON = """\
name: "m"
backend: "python"
max_batch_size: 0
input [ { name: "a" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "b" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


def edit(old: str, new: str) -> str:
    assert old in PYTHON
    return PYTHON.replace(old, new, 1)


CONFIGS = [
    # text, rule, line, column, the server's words
    (edit('name: "m"', 'nmae: "m"'), "TRT101", 1, 1, "failed to read text proto from config.pbtxt"),
    (PYTHON + "input {", "TRT101", 6, 7, "failed to read text proto from config.pbtxt"),
    (PYTHON + 'name: "m"', "TRT101", 6, 7, "failed to read text proto from config.pbtxt"),
    (
        edit('"m"', '"x"'), "TRT202", 1, 7,
        "unexpected directory name 'm' for model 'x', directory name must equal model name",
    ),
    (
        PYTHON + "version_policy { latest { num_versions: 0 } }", "TRT203", 6, 1,
        "at least one version must be available under the version policy of model 'm'",
    ),
    (
        PYTHON + "version_policy { specific { versions: [ 1, 3 ] } }", "TRT204", 6, 44,
        "version 3 is specified for model 'm', but the version directory is not present",
    ),
    (
        edit('backend: "python"', 'platform: "weird"'), "TRT302", 2, 11,
        "unexpected platform type 'weird' for m",
    ),
    (
        edit('backend: "python"', 'backend: "onnxruntime" platform: "tensorrt_plan"'),
        "TRT302", 2, 34,
        "unexpected 'platform' and 'backend' pair, got:tensorrt_plan, onnxruntime",
    ),
    (
        edit('backend: "python"', 'backend: "python" platform: "ensemble"'), "TRT302", 2, 10,
        "Ensemble model 'm' must have platform type 'ensemble' and empty backend type",
    ),
    (
        edit("size: 0", "size: -1"), "TRT303", 3, 17,
        "'max_batch_size' must be non-negative value for m",
    ),
    (
        PYTHON + "dynamic_batching { preferred_batch_size: [ 0 ] }", "TRT304", 6, 44,
        "dynamic batching preferred size must be positive for m",
    ),
    (
        edit("size: 0", "size: 4") + "dynamic_batching { preferred_batch_size: [ 2, 8 ] }",
        "TRT304", 6, 47,
        "dynamic batching preferred size must be <= max batch size for m",
    ),
    (
        PYTHON + "ensemble_scheduling { }", "TRT305", 6, 1,
        "ensemble scheduling cannot be set for model 'm' whose platform is not ensemble",
    ),
    (
        edit('backend: "python"', 'platform: "ensemble"'), "TRT305", 2, 11,
        "ensemble scheduling must be set for ensemble m whose platform is ensemble",
    ),
    (
        PYTHON + "response_cache { enable: true } model_transaction_policy { decoupled: true }",
        "TRT306", 6, 26,
        "Response Cache does not currently support model m with 'decoupled' transaction policy. "
        "Please disable the response cache.",
    ),
    (
        edit("max_batch_size: 0\n", "").replace('"python"', '"onnxruntime"'), "TRT307", 1, 7, "",
    ),
    (edit('name: "a" ', ""), "TRT401", 4, 9, "model input must specify 'name' for m"),
    (
        edit("data_type: TYPE_FP32 ", ""), "TRT402", 4, 9,
        "model input 'a' must specify 'data_type' for m",
    ),
    (edit(" dims: [ 1 ]", ""), "TRT403", 4, 9, "model input 'a' must specify 'dims' for m"),
    (
        edit("[ 1 ] } ]\nout", "[ 1, 0 ] } ]\nout"), "TRT404", 4, 53,
        "model input 'a' dimension must be integer >= 1, or -1 to indicate a variable-size "
        "dimension for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ 4 ] reshape { shape: [ 0 ] }"), "TRT404", 4, 73,
        "model input 'a' reshape dimensions must be integer >= 1, or -1 to indicate a "
        "variable-size dimension for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ 4 ] reshape { shape: [ 3 ] }"), "TRT405", 4, 54,
        "model input 'a' has different size for dims and reshape for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ 2, -1, 3 ] reshape { shape: [ 3, -1, 2 ] }"),
        "TRT405", 4, 61,
        "model input 'a' has different size for dims and reshape for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ -1, -1 ] reshape { shape: [ -1 ] }"), "TRT405", 4, 59,
        "model input 'a' has different number of variable-size dimensions for dims and reshape "
        "for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ -1 ] reshape { shape: [ 3 ] }"), "TRT405", 4, 55,
        "model input 'a' has different size for dims and reshape for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ 1 ] reshape { shape: [ ] }"), "TRT405", 4, 54,
        "model input 'a' cannot have empty reshape for non-batching model as scalar tensors are "
        "not supported for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ 1 ] format: FORMAT_NHWC"), "TRT406", 4, 62,
        "model input NHWC/NCHW require 3 dims for m",
    ),
    (
        edit("dims: [ 1 ]", "dims: [ 1 ] is_shape_tensor: true"), "TRT407", 4, 71,
        "shape tensors are only supported for TensorRT platform for m",
    ),
    (
        edit("input [", 'input [ { name: "a" data_type: TYPE_FP32 dims: 1 },'),
        "TRT408", 4, 61, "",
    ),
    (
        PYTHON + "instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]", "TRT501", 6, 43,
        "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs",
    ),
    (
        PYTHON + 'instance_group [ { kind: KIND_CPU profile: [ "p" ] } ]', "TRT502", 6, 46,
        "instance group m_0 of model m and platform specifies profile field which is only "
        "supported for TensorRT models",
    ),
    (
        edit('backend: "python"', 'platform: "ensemble"')
        + "ensemble_scheduling { } instance_group { }",
        "TRT503", 6, 25, "instance group should not be specified for ensemble 'm'",
    ),
    (PYTHON + "instance_group [ { kind: KIND_CPU count: 0 } ]", "TRT504", 6, 42, ""),
    (PYTHON + 'parameters { key: "k" value { string_value: "${x}" } }', "TRT104", 6, 46, ""),
]  # fmt: skip
