"""``trtbuild inspect`` as people and machines run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import make_headers_only, make_llama
from support.command_line import trtbuild
from support.sentence_files import make_checkpoint, switches


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return trtbuild("inspect", *arguments, env=env)


def test_people_see_the_facts(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    done = run(str(folder))
    assert done.returncode == 0
    for fact in ("LlamaForCausalLM", "generate", "GQA: 4 heads of 16, 2 for keys and values",
                 "512 tokens", "fast, PreTrainedTokenizerFast"):  # fmt: skip
        assert fact in done.stdout
    assert str(tmp_path) not in done.stdout


def test_machines_get_json_and_nothing_else(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny", sharded=True, dtype="bfloat16")
    done = run(str(folder), "--json")
    spec = json.loads(done.stdout)
    assert spec["source"] == {"kind": "local", "text": "tiny", "revision": "", "commit": ""}
    assert spec["weight_bytes"] == 2 * spec["parameters"] == sum(spec["bytes_by_dtype"].values())
    assert spec["kv_cache"]["bytes_per_token"] == 2 * 2 * 16 * 2 * 2
    assert spec["kv_cache"]["bytes_per_token_beyond_windows"] == 2 * 2 * 16 * 2 * 2
    assert spec["default_name"] == "tiny"
    assert {file["name"] for file in spec["files"]} >= {"config.json", "tokenizer.json"}
    assert str(tmp_path) not in done.stdout


def test_the_head_of_an_embedder(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query",
                "similarity_fn_name": "cosine", "truncate_dim": 16}  # fmt: skip
    folder = make_checkpoint(
        tmp_path / "m",
        {"matryoshka_dimensions": [16, 32]},
        ("Transformer", "Pooling", "Dense", "Normalize"),
        files={
            "config_sentence_transformers.json": settings,
            "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": True},
            "2_Dense/config.json": {"in_features": 32, "out_features": 32},
            "tokenizer_config.json": {"padding_side": "left", "add_eos_token": True},
        },
        tensors={"2_Dense/linear.weight": (32, 32), "2_Dense/linear.bias": (32,)},
    )
    rows = shown(run(str(folder)))
    assert rows == {
        "head": "dense, 32 dimensions, normalized",
        "pooling": "mean",
        "dense layer": "32 → 32, tanh",
        "dimensions": "16, 32 (Matryoshka)",
        "cut to": "16 numbers",
        "similarity": "cosine",
        "prompt": "document: ''",
        "longest text": "256 tokens, then cut on the right",
        "lower case": "yes",
        "padding": "left",
        "appended": "the end-of-text token",
    }
    head = json.loads(run(str(folder), "--json").stdout)["head"]
    assert (head["kind"], head["pooling"], head["dimension"]) == ("dense", ["mean"], 32)
    assert head["layers"][0]["directory"] == "2_Dense"


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The rows from ``head`` on; of two with the same label the last."""
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.partition("\nhead ")[2].splitlines()]
    return {line[:13].strip(): line[13:].strip() for line in [f"head {lines[0]}", *lines[1:]]}


def test_the_heads_of_rerankers_and_classifiers(tmp_path: Path) -> None:
    labels = {"id2label": {str(number): f"L{number}" for number in range(10)}}  # eight are shown
    config = {"architectures": ["BertForSequenceClassification"], **labels}
    rows = shown(run(str(make_checkpoint(tmp_path / "m", config, ()))))
    assert rows["head"] == "labels, 10 labels"
    assert rows["labels"] == ", ".join(f"L{number}" for number in range(8)) + " and 2 more"
    assert rows["activation"] == "softmax"
    config = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}
    rows = shown(run(str(make_checkpoint(tmp_path / "bge-reranker-v2-gemma", config, ()))))
    assert (rows["head"], rows["score"]) == ("score", "the logit of 'Yes'")
    assert rows["pair"] == "a template that begins 'A: {query}'"
    folder = make_checkpoint(
        tmp_path / "logits",
        {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
        ("Transformer", "LogitScore"),
        new=True,
        files={"1_LogitScore/config.json": {"true_token_id": 7, "false_token_id": 8}},
    )
    assert shown(run(str(folder)))["score"] == "the logit of '%' against '&'"


def test_labels_that_no_terminal_takes(tmp_path: Path) -> None:
    labels = {"0": "HALF", "1": "\x1b[31mred\n"}
    config = {"architectures": ["BertForSequenceClassification"], "id2label": labels}
    folder = make_checkpoint(tmp_path / "m", config, ())
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text.replace("HALF", "\\ud800"), encoding="utf-8")
    assert shown(run(str(folder)))["labels"] == "\ufffd, '\\x1b[31mred\\n'"
    head = json.loads(run(str(folder), "--json").stdout)["head"]
    assert head["labels"] == ["\ufffd", labels["1"]]


def test_the_head_of_a_colbert(tmp_path: Path) -> None:
    config = {"architectures": ["HF_ColBERT"]}
    tensors = {"linear.weight": (16, 32)}
    rows = shown(run(str(make_checkpoint(tmp_path / "m", config, (), tensors=tensors))))
    assert rows["head"] == "multi-vector, 16 dimensions, normalized"
    assert rows["query"] == "32 tokens, filled up with the mask token"
    assert rows["document"] == "512 tokens at most"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"files": {"1_Pooling/config.json": None}}, "1_Pooling/config.json is missing"),
        ({"files": {"1_Pooling/config.json": {**switches("cls_token"), "pooling_mode": "mean"}}},
         "contradicts itself"),
        ({"chain": ("Transformer", "Pooling", "Dense"),
          "files": {"2_Dense/config.json": {"in_features": 32, "out_features": 8}}},
         "the Dense layer 2_Dense has no weights"),
        ({"config": {"architectures": ["BertForSequenceClassification"], "num_labels": 3},
          "chain": (), "tensors": {"classifier.weight": (2, 32)}},
         "names 3 labels, and classifier.weight has 2 rows"),
        ({"config": {"architectures": ["BertForMaskedLM"]}, "chain": ()},
         "fills in masked words"),
        ({"chain": ("Transformer",)}, "modules.json names no Pooling"),
        ({"config": {"architectures": ["NewModel"], "auto_map": {"AutoModel": "new.NewModel"}}},
         "accept it with --trust-remote-code"),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_served(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    folder = make_checkpoint(tmp_path / "m", **arguments)
    for command in (("inspect",), ("convert", "--repo", str(tmp_path / "repo"))):
        done = trtbuild(command[0], str(folder), *command[1:])
        assert done.returncode == 4, done.stderr
        assert said in " ".join(done.stderr.split())
        assert "fix:" in done.stderr
    assert not (tmp_path / "repo").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_70b_within_200_mb(tmp_path: Path) -> None:
    folder = make_headers_only(tmp_path / "big")
    program = (
        "import sys\nfrom trtbuild.cli.app import app\n"
        "try:\n    app(['inspect', sys.argv[1], '--json'])\nexcept SystemExit:\n    pass\n"
        # not ru_maxrss, which begins with the parent's
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["parameters"] == 70_553_706_496
    assert int(done.stderr.split()[-1]) < 200 * 1024


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("no/such/thing/at/all",), 2, "no such source"),
        (("sample:nothing",), 2, "no such sample"),
        (("EMPTY",), 4, "config.json is missing"),
        (("EMPTY", "--dtype", "int8"), 2, "unknown dtype 'int8'"),
    ],
)
def test_errors_have_their_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = [str(tmp_path / "empty") if a == "EMPTY" else a for a in arguments]
    done = run(*given)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    as_json = run(*given, "--json")
    assert as_json.returncode == code
    assert json.loads(as_json.stdout)["exit_code"] == code


def test_help_has_examples() -> None:
    done = run("--help")
    assert "Examples" in done.stdout
    assert "sample:smollm2" in done.stdout
