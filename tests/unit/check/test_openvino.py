"""OpenVINO: how a model.xml is read, and what the backend refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild_rules.readers.graphs.openvinofile import read_openvino

NET = '<net name="m" version="{}"><layers>{}</layers><edges>{}</edges></net>'
CONFIG = 'name: "m" backend: "openvino" instance_group { kind: KIND_CPU } '


def net(
    shape: str = "1,4", names: str = "in1", output: str = "out", dims: str = "1,4", **more: str
) -> str:
    """Two inputs of a shape, ``in0`` and one of ``names``, and an output."""
    layout = f'<rt_info><attribute name="layout" layout="{more.get("layout", "")}"/></rt_info>'
    sizes = "".join(f"<dim>{size}</dim>" for size in dims.split(",") if size)
    layers = "".join(
        f'<layer id="{number}" name="p{number}" type="Parameter"><data shape="{shape}"/>'
        f'<output><port id="0" {name}>{layout}</port></output></layer>'
        for number, name in enumerate(('names="in0"', f'names="{names}"' if names else ""))
    )
    layers += (
        f'<layer id="2" name="add" type="Add">{more.get("inside", "")}<output><port id="2" '
        f'names="{output}">{sizes}{layout}</port></output></layer>'
        f'<layer id="3" name="r" type="Result" {more.get("result", "")}/>'
    )
    edge = '<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>'
    return NET.format(more.get("version", "11"), layers, edge)


def tensors(text: str) -> list[tuple[str, tuple[int, ...] | None]]:
    file = read_openvino(text.encode())
    assert file.problem == ""
    return [(one.name, one.dims) for one in (*file.inputs, *file.outputs)]


INSIDE = (
    '<body><layers><layer id="3" type="Result"/><layer id="9" type="Parameter"/></layers></body>'
)


# What OpenVINO 2026.4 says of such files.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (net(), [("in0", (1, 4)), ("in1", (1, 4)), ("out", (1, 4))]),
        (net(names="z,b:0,m"), [("in0", (1, 4)), ("b:0", (1, 4)), ("out", (1, 4))]),
        (net(names="b\\,c,z"), [("in0", (1, 4)), ("b,c", (1, 4)), ("out", (1, 4))]),
        (net(shape="?,1..9"), [("in0", (-1, -1)), ("in1", (-1, -1)), ("out", (1, 4))]),
        (net(shape="", dims=""), [("in0", ()), ("in1", ()), ("out", None)]),
        (net(shape="..."), [("in0", None), ("in1", None), ("out", (1, 4))]),
        (net(result='output_names="r2,r1"'), [("in0", (1, 4)), ("in1", (1, 4)), ("r1", (1, 4))]),
        (
            net(version="10", names="", output=""),
            [("in0", (1, 4)), ("p1", (1, 4)), ("add", (1, 4))],
        ),
        (net(inside=INSIDE), [("in0", (1, 4)), ("in1", (1, 4)), ("out", (1, 4))]),
    ],
)  # fmt: skip
def test_how_a_file_is_read(text: str, expected: object) -> None:
    assert tensors(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "syntax error"),
        ("<net/>", "no <net> of version 10 or 11"),
        (net(version="7"), "no <net> of version 10 or 11"),
        (net(version="eleven"), "invalid literal"),
        (net(dims="four"), "invalid literal"),
        (net(shape="1,x"), "invalid literal"),
        ('<!DOCTYPE a [<!ENTITY a "b">]>' + net(), "it declares entities"),
        (net()[:-6], "no element found"),
    ],
)
def test_a_file_that_is_no_model(text: str, problem: str) -> None:
    assert problem in read_openvino(text.encode()).problem


def said(tmp_path: Path, text: str, config: str, **options: bool) -> list[str]:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.xml").write_text(text)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG + config)
    report = check.validate(tmp_path, gpus=0, **options)
    return [found.server_message for found in report.findings if found.severity == "error"]


def io(in0: str = "1, 4", in1: str = "1, 4", out: str = "1, 4", kind: str = "INT32") -> str:
    return "".join(
        f'{field} {{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] }} '
        for field, name, dims in (
            ("input", "in0", in0), ("input", "in1", in1), ("output", "out", out),
        )
        if dims
    )  # fmt: skip


SIZES = "the model expects 2 dimensions (shape [1,4]) but the model configuration specifies "
VERDICTS = {
    "as the file": (net(), io(), ""),
    "with a batch": (net(), "max_batch_size: 8 " + io("4", "4", "4"), ""),
    "types are converted": (net(), io(kind="FP16"), ""),
    "an open input of a batch": (net(), "max_batch_size: 8 " + io("-1", "4", "4"), ""),
    "an open size of the file": (net(shape="?,4"), io("7, 4"), ""),
    "sizes of an input": (
        net(), io("1, 256"),
        f"model 'm', tensor 'in0': {SIZES}2 dimensions (shape [1,256])",
    ),
    "sizes of an output": (
        net(), io(out="1, 128"),
        f"model 'm', tensor 'out': {SIZES}2 dimensions (shape [1,128])",
    ),
    "a batch of a scalar": (
        net(shape=""), "max_batch_size: 8 " + io("4", "4", "4"),
        "model 'm', tensor 'in0': for the model to support batching the shape should have at "
        "least 1 dimension",
    ),
    "too few inputs": (
        net(), io(in1=""),
        "unable to load model 'm', configuration expects 1 inputs, model provides 2",
    ),
    "too many inputs": (
        net(), io() + io(in1="", out="").replace("in0", "extra"),
        "unable to load model 'm', configuration expects 3 inputs, model provides 2",
    ),
    "an unknown input": (
        net(), io().replace("in1", "input1"),
        "unexpected inference input 'input1', allowed inputs are: in0, in1",
    ),
    "an unknown output": (
        net(), io().replace("out\"", "output2\""),
        "unexpected inference output 'output2', allowed outputs are: out",
    ),
    "a type that is not supported": (
        net(), io(kind="FP64"),
        "unsupported datatype TYPE_FP64 for input 'in0' for model 'm'",
    ),
    "no name": (net(names=""), io(), "Attempt to get a name for a Tensor without names"),
    "outside the limits": (
        net(shape="1,2..9"), io("1, 12"),
        "model 'm', tensor 'in0': the model expects 2 dimensions (shape [1,-1]) but the model "
        "configuration specifies 2 dimensions (shape [1,12])",
    ),
}  # fmt: skip


@pytest.mark.parametrize("auto_complete", [False, True])
@pytest.mark.parametrize("case", VERDICTS)
def test_what_the_backend_says(case: str, auto_complete: bool, tmp_path: Path) -> None:
    text, config, server = VERDICTS[case]
    found = said(tmp_path, text, config, auto_complete=auto_complete)
    assert server in found if server else found == []


def test_a_batch_is_completed_where_all_layouts_have_one(tmp_path: Path) -> None:
    found = said(tmp_path, net(layout="[N,C]"), io(), auto_complete=True)
    assert "making complete shape [4,1,4])" in found[0]


def test_shapes_may_be_given_to_the_model(tmp_path: Path) -> None:
    reshapes = 'parameters { key: "RESHAPE_IO_LAYERS" value { string_value: "yes" } }'
    assert said(tmp_path, net(), io("7, 9", "7, 9") + reshapes) == []
