"""Repositories that Hypothesis makes: sound ones, then a few changes anywhere in their fields.

The changes follow the descriptors of ModelConfig, so every field is reached, those of releases to
come too.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from support.cases import Case
from trtbuild import pbtxt

PLAIN = """
name: "{name}" backend: "identity" max_batch_size: {batch}
input {{ name: "a" data_type: TYPE_FP32 dims: [ 2 ] }}
output {{ name: "b" data_type: TYPE_FP32 dims: [ 2 ] }}
"""
_EXTRA = (
    "",
    "dynamic_batching { preferred_batch_size: [ 2, 4 ] priority_levels: 3"
    " default_priority_level: 2 }",
    "dynamic_batching { preserve_ordering: true default_queue_policy { max_queue_size: 8 } }",
    "sequence_batching { direct { minimum_slot_utilization: 0.5 }"
    ' control_input { name: "S" control { kind: CONTROL_SEQUENCE_START'
    " int32_false_true: [ 0, 1 ] } }"
    ' control_input { name: "C" control { kind: CONTROL_SEQUENCE_CORRID'
    " data_type: TYPE_UINT64 } } }",
    "sequence_batching { oldest { max_candidate_sequences: 4 }"
    ' state { input_name: "si" output_name: "so" data_type: TYPE_INT32 dims: [ 2 ]'
    ' initial_state { name: "z" data_type: TYPE_INT32 dims: [ 2 ] zero_data: true } } }',
    'model_warmup { name: "w" batch_size: 1'
    ' inputs { key: "a" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } } }',
    'batch_input { kind: BATCH_ITEM_SHAPE target_name: "T" data_type: TYPE_FP32'
    ' source_input: "a" }',
    "instance_group { count: 2 kind: KIND_CPU }",
    "model_transaction_policy { decoupled: true }",
    "version_policy { latest { num_versions: 2 } }",
)
ENSEMBLE = """
name: "e" platform: "ensemble" max_batch_size: {batch}
input {{ name: "x" data_type: TYPE_FP32 dims: [ 2 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }}
ensemble_scheduling {{
  step {{ model_name: "m" model_version: -1
    input_map {{ key: "a" value: "x" }} output_map {{ key: "b" value: "t" }} }}
  step {{ model_name: "n" model_version: -1
    input_map {{ key: "a" value: "t" }} output_map {{ key: "b" value: "y" }} }}
}}
"""
_JOIN = """
name: "e" platform: "ensemble" max_batch_size: {batch}
input {{ name: "x" data_type: TYPE_FP32 dims: [ 2 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }}
ensemble_scheduling {{
  step {{ model_name: "m" model_version: -1
    input_map {{ key: "a" value: "x" }} output_map {{ key: "b" value: "t" }} }}
  step {{ model_name: "m" model_version: 1
    input_map {{ key: "a" value: "x" }} output_map {{ key: "b" value: "u" }} }}
  step {{ model_name: "n" model_version: -1
    input_map {{ key: "a" value: "t" }} input_map {{ key: "c" value: "u" }}
    output_map {{ key: "b" value: "y" }} }}
}}
"""
_SECOND_INPUT = 'input { name: "c" data_type: TYPE_FP32 dims: [ 2 ] }'
_DECOUPLED = "model_transaction_policy { decoupled: true }"
_STRINGS = {
    "name": ("a", "b", "m", ""),
    "model_name": ("m", "n", "e", "absent", ""),
    "backend": ("identity", "python", "onnxruntime", "tensorrt", "pytorch", "tensorflow", ""),
    "platform": (
        "", "ensemble", "tensorrt_plan", "onnxruntime_onnx", "pytorch_libtorch",
        "tensorflow_graphdef", "odd",
    ),
    "default_model_filename": ("model.plan", "model.py", "model.onnx", "other"),
    "runtime": (
        "libtriton_identity.so", "model.py", "absent.so", "../identity/libtriton_identity.so",
        "../lib.so", ".", "/",
    ),
    "profile": ("0", "-1", "x", ""),
    "label_filename": ("labels", "absent", "labels/", "/labels"),
    "input_data_file": ("data", "absent", "data/", "/data", "/absent"),
    "data_file": ("data", "absent", "data/", "/data", "/absent"),
}  # fmt: skip
_OTHER_STRINGS = ("a", "b", "t", "x", "y", "S", "")
_NUMBERS = (-2, -1, 0, 1, 2, 3, 4, 8)
# The server keeps versions of models that it unloaded, and mistakes -1 for one of them later.
_VERSIONS = (-2, 0, 1, 2, 3)
# An agent is a library, which no repository holds; a thousand instances only cost time.
_LEFT_OUT = {"model_repository_agents", "cc_model_filenames", "metric_tags", "count"}


def _fields(message: Any) -> list[FieldDescriptor]:
    return [field for field in message.DESCRIPTOR.fields if field.name not in _LEFT_OUT]


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        pool = _STRINGS.get(field.name, _OTHER_STRINGS)
        return st.sampled_from([text.encode() for text in pool] if field.type == 12 else pool)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5])
    if field.name == "versions":
        return st.sampled_from(_VERSIONS)
    unsigned = kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    return st.sampled_from([n for n in _NUMBERS if n >= 0 or not unsigned])


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _fill(draw: st.DrawFn, message: Any, depth: int = 0) -> None:
    """Set about two fields."""
    for field in draw(st.lists(st.sampled_from(_fields(message)), min_size=1, max_size=3)):
        _set(draw, message, field, depth)


def _set(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int = 0) -> None:
    """Set a field, or add to it."""
    if _is_map(field):
        entry = field.message_type.fields_by_name
        held = getattr(message, field.name)
        key = draw(_scalar(entry["key"]))
        if entry["value"].message_type is None:
            held[key] = draw(_scalar(entry["value"]))
        else:
            _fill(draw, held[key], depth + 1)
    elif field.message_type is not None:
        held = getattr(message, field.name)
        child = held.add() if field.is_repeated else held
        child.SetInParent()
        if depth < 4 and _fields(child):
            _fill(draw, child, depth + 1)
    elif field.is_repeated:
        getattr(message, field.name).append(draw(_scalar(field)))
    else:
        setattr(message, field.name, draw(_scalar(field)))


def _messages(message: Any) -> list[Any]:
    """It and every message in it."""
    found = [message]
    for field, value in message.ListFields():
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                found += [m for key in value for m in _messages(value[key])]
        elif field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                found += _messages(child)
    return found


def _change(draw: st.DrawFn, config: Any) -> None:
    """Change one field somewhere: set, add, repeat or remove."""
    message = draw(st.sampled_from(_messages(config)))
    present = [field for field, _ in message.ListFields() if field.name not in _LEFT_OUT]
    action = draw(st.sampled_from(("set", "touch", "repeat", "remove")))
    if action == "set" or not present:
        if _fields(message):
            _set(draw, message, draw(st.sampled_from(_fields(message))))
        return
    field = draw(st.sampled_from(present))
    held = getattr(message, field.name)
    if action == "remove" and field.is_repeated and not _is_map(field) and len(held) > 1:
        del held[draw(st.integers(0, len(held) - 1))]
    elif action == "remove":
        message.ClearField(field.name)
    elif action == "repeat" and field.is_repeated and not _is_map(field):
        held.append(held[draw(st.integers(0, len(held) - 1))])
    else:
        _set(draw, message, field)


@st.composite
def configs(draw: st.DrawFn, text: str, changes: int = 3) -> str:
    """A config.pbtxt: ``text`` with some changes."""
    config = pbtxt.parse(text)
    for _ in range(draw(st.integers(0, changes))):
        _change(draw, config)
    return text_format.MessageToString(config, as_utf8=True)


_LAYOUTS = (
    ("m/1",), ("m/1", "m/2"), ("m/0",), ("m/01",), ("m/first",), ("m/2", "m/3", "m/10"), ("m",),
    ("m/1a",), ("m/-2",), ("m/configs", "m/1"), ("m/warmup",), ("m/ 1",),
)  # fmt: skip
_DATA = ("m/labels", "m/warmup/data", "m/initial_state/data")
_FILES = (
    "m/1/model.py", "m/1/model.onnx", "m/1/model.plan", "m/1/model.pt", "m/1/model.graphdef",
    "m/1/batchstrategy.so", "m/lib.so",
)  # fmt: skip


@st.composite
def single(draw: st.DrawFn) -> Case:
    """One model."""
    batch = draw(st.sampled_from((0, 4, 8)))
    text = PLAIN.format(name="m", batch=batch) + draw(st.sampled_from(_EXTRA))
    config = draw(configs(text, changes=4))
    folders = draw(st.sampled_from(_LAYOUTS)) if draw(st.integers(0, 4)) == 0 else ("m/1",)
    files = dict.fromkeys(draw(st.lists(st.sampled_from(_FILES), max_size=1)), "no library")
    files |= dict.fromkeys(_DATA, "12345678")
    return Case("generated", {"m": config}, folders, files, draw(st.booleans()))


@st.composite
def ensemble(draw: st.DrawFn) -> Case:
    """An ensemble of two models, with its members."""
    sizes = [draw(st.sampled_from((0, 4))) for _ in range(3)]
    plain = [PLAIN.format(name=name, batch=size) for name, size in zip("mn", sizes, strict=False)]
    plain = [text + draw(st.sampled_from(("", "", _DECOUPLED))) for text in plain]
    join = draw(st.booleans())
    whole = (_JOIN if join else ENSEMBLE).format(batch=sizes[2])
    texts = {
        "m": draw(configs(plain[0], changes=1)),
        "n": draw(configs(plain[1] + (_SECOND_INPUT if join else ""), changes=1)),
        "e": draw(configs(whole, changes=3)),
    }
    version = draw(st.sampled_from(("1", "1", "2", "x")))
    folders = ("e/1", f"m/{version}", "n/1", "n/3")
    return Case("generated", texts, folders, auto_complete=draw(st.booleans()))


_TOKEN = re.compile(r'"[^"]*"|[\w.-]+|\S|\s+')
_ODD_TOKENS = (
    "", " ", "{", "}", "[", "]", "<", ">", ":", ",", ";", "'", '"', "#", "# x\n", "//x", "/* x */",
    "\\", "-", "\n", "\t", "\r", "\0", "\ufeff", "\u00a0", "\u2028", "[]", "[ 1, ]", "[ , ]",
    "{}", "<>", "[ {} ]", "[a.b/c]", "[x]", "name", "dims", "inference.ModelConfig",
    "010", "08", "0x1F", "0X1f", "1.0", "1e2", "1f", "1.5F", ".5", "+1", "- 1", "1u", "1_0", "inf",
    "-inf", "nan", "99999999999", "99999999999999999999", "18446744073709551615", "-0", "0b1",
    "true", "True", "TRUE", "t", "f", "False", "yes", "TYPE_FP32", "TYPE_fp32", "3", "99",
    "'x'", '"a" "b"', "\"a\" 'b'", '"é"', '"\n"', '"\0"',
    *(f'"\\{escape}"' for escape in
      ("x41", "x", "q", "101", "n", "u00e9", "U0001F600", "ud800", "777", "377", "?")),
)  # fmt: skip


@st.composite
def garbled(draw: st.DrawFn) -> Case:
    """A configuration of which some words were changed."""
    text = PLAIN.format(name="m", batch=4) + draw(st.sampled_from(_EXTRA))
    words = _TOKEN.findall(text)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(words) - 1))
        words[at : at + draw(st.integers(0, 1))] = [draw(st.sampled_from(_ODD_TOKENS))]
    ends = draw(st.sampled_from(("\n", "\n", "\r\n", "\r")))
    return Case("generated", {"m": "".join(words).replace("\n", ends)})


def repositories() -> st.SearchStrategy[Case]:
    """Any of them."""
    return st.one_of(single(), single(), ensemble(), garbled())
