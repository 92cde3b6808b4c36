"""Findings of the server's rules point at the value that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check

# The rule's first bad example: line, column, the text there, the beginning of the server's words.
PLACES = [
    ("TRT221", 1, 73, '"labels.txt"', "failed to open text file for read labels.txt"),
    ("TRT223", 3, 66, '"labels.txt"', "multiple label files for 'OUT'"),
    ("TRT311", 1, 1, "dynamic_batching", "default priority level must be in range [1, 2] for m"),
    ("TRT312", 1, 39, "true", "Only one priority level is allowed"),
    ("TRT313", 2, 70, '"/x.so"', "TRITON_BATCH_STRATEGY_PATH cannot be specified"),
    ("TRT314", 1, 1, "metric_tags", ""),
    ("TRT315", 1, 17, "metric_control", "metric control must specify 'metric_identifier'"),
    ("TRT321", 1, 21, "control_input", "sequence batching control tensor must have a name for m"),
    ("TRT322", 3, 45, "CONTROL_SEQUENCE_END", "sequence batching specifies multiple CONTROL_SEQ"),
    ("TRT323", 1, 106, "1", "sequence batching control 'int32_false_true' must have exactly 2"),
    ("TRT324", 1, 47, "control", "unexpected data type for control CONTROL_SEQUENCE_CORRID for m"),
    (
        "TRT325",
        1,
        54,
        "16",
        "sequence batching preferred batch size must be <= max batch size for m",
    ),
    ("TRT331", 2, 31, "initial_state", "initial_state field for state input 'I' must contain"),
    ("TRT332", 3, 42, "TYPE_FP32", "The data type used for 'initial_state' field of state 'I'"),
    ("TRT333", 3, 27, '"a"', "initial_state setting expects state'I' to have state_data set"),
    ("TRT334", 3, 61, "-2", ""),
    ("TRT341", 2, 3, "inputs", "warmup setting expects all variable-size dimensions"),
    ("TRT342", 2, 3, "inputs", "failed to open text file for read warmup/absent"),
    ("TRT343", 2, 3, "inputs", "unexpected shape for input 'IN' for model 'm'. Expected [-1,1]"),
    ("TRT351", 1, 10, '"pyhton"', "unable to find backend library for backend 'pyhton'"),
    ("TRT352", 1, 10, '"absent.so"', "unable to find backend library 'absent.so' for model"),
    ("TRT353", 1, 42, '"absent"', "unable to find 'libtritonrepoagent_absent.so' for repo agent"),
    ("TRT354", 2, 55, '"R"', 'Resource "R" is present as both global and device-specific'),
    ("TRT361", 1, 1, "optimization", "optimization should not be specified for ensemble 'm'"),
    ("TRT362", 1, 1, "ensemble_scheduling", "must specify 'step' for ensemble 'm'"),
    ("TRT363", 5, 3, "output_map", "ensemble tensor 'OUT' can appear in an output map only once"),
    ("TRT364", 8, 18, '"OUT"', "ensemble output 'OUT' for ensemble m' is not used"),
    ("TRT371", 1, 44, '"absent"', "ensemble m contains models that are not available or ambi"),
    ("TRT372", 1, 44, '"m"', "circular dependency between ensembles: m -> ... ->"),
    ("TRT373", 9, 19, '"a"', "ensemble m contains models that are not available or ambiguous: a"),
    ("TRT374", 1, 30, "{", "ensemble 'm' depends on 'a' whose required version 0 is not loaded."),
    ("TRT375", 1, 17, "16", "ensemble m allows maximum batch size 16, but it contains model a"),
    ("TRT376", 17, 7, "input_map", "in ensemble m, ensemble tensor between is mapping to non-exi"),
    ("TRT377", 17, 7, "input_map", "in ensemble m, ensemble tensor between: inconsistent data ty"),
    ("TRT378", 7, 1, "ensemble_scheduling", "in ensemble m, step of model '"),
    (
        "TRT411",
        1,
        95,
        '"IN"',
        "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 2",
    ),
    ("TRT412", 1, 69, "TYPE_INT64", "batch input data type must be TYPE_INT32 or TYPE_FP32 for m"),
    ("TRT413", 1, 29, '"absent"', "unknown target output name 'absent' for m"),
    ("TRT505", 1, 26, "KIND_GPU", "instance group m_0 of model m has kind KIND_GPU but no GPUs"),
    ("TRT506", 1, 26, "7", "instance group m_0 of model m has unexpected kind KIND_AUTO"),
]


@pytest.mark.parametrize(
    ("rule", "line", "column", "there", "server"), PLACES, ids=[row[0] for row in PLACES]
)
def test_a_finding_points_at_the_value(
    tmp_path: Path, rule: str, line: int, column: int, there: str, server: str
) -> None:
    example = next(each for each in check.all_rules() if each.id == rule).bad[0]
    check.write_example(example, tmp_path)
    report = check.validate(tmp_path, triton=example.triton, gpus=example.gpus)
    found = next(finding for finding in report.findings if finding.rule == rule)
    assert (found.file, found.line, found.column) == ("m/config.pbtxt", line, column)
    text = (tmp_path / found.file).read_text().splitlines()[line - 1]
    assert text[column - 1 :].startswith(there)
    assert found.server_message.startswith(server)
