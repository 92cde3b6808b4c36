"""The facts: what a repository, its lock and the table of metrics say."""

from __future__ import annotations

import ast
import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployable
from support.paths import ROOT
from trtbuild import lockfile
from trtbuild.errors import RepositoryError, UsageError
from trtbuild_deploy.facts import Exporters, metrics_of, progress_of, read_facts
from trtbuild_deploy.facts.sizes import GIB, MIB, load_seconds, memory_bytes, shm_bytes
from trtbuild_gateway.access.gate import gate_for
from trtbuild_gateway.access.report import AccessReport
from trtbuild_gateway.control.watchdog import _HELP
from trtbuild_gateway.experiments.figures import Figures
from trtbuild_gateway.metrics import Metrics
from trtbuild_gateway.routing.report import Report
from trtbuild_gateway.settings import settings_of

SHAPES = [
    # builder, case, GPUs, how it is asked, what tells busy from hung
    ("vllm", "plain", 1, "generate_stream", "vllm:generation_tokens_total"),
    ("vllm", "embed", 1, "generate_stream", ""),
    ("vllm-pooling", "embed", 1, "infer", "nv_inference_exec_count"),
    ("trtllm", "plain", 1, "generate_stream", ""),
    ("trtllm", "everything", 2, "generate_stream", ""),
    ("trtllm-engine", "balanced", 1, "generate_stream", ""),
    ("onnx", "embed", 0, "infer", "nv_inference_exec_count"),
    ("onnx", "tensorrt", 1, "infer", "nv_inference_exec_count"),
    ("torch", "images", 1, "infer", "nv_inference_exec_count"),
]


@pytest.mark.parametrize(("builder", "case", "gpus", "route", "progress"), SHAPES)
def test_a_repository_of_each_builder(
    tmp_path: Path, builder: str, case: str, gpus: int, route: str, progress: str
) -> None:
    facts = read_facts(deployable(tmp_path, builder, case))
    (model,) = facts.models
    assert facts.gpus == gpus
    assert model.probe.path == f"/v2/models/llama/{route}"
    assert model.probe.body
    assert facts.progress(model) == progress
    assert "tritonserver" in facts.command
    histograms = "--metrics-config=histogram_latencies=true" in facts.command
    assert histograms == bool(model.decoupled)


def test_ranks_come_from_the_recipe(tmp_path: Path) -> None:
    engine = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    facts = read_facts(deployable(tmp_path, settings={"engine": engine}))
    (model,) = facts.models
    assert (facts.gpus, model.tensor, model.pipeline) == (8, 4, 2)
    assert facts.shm_bytes == GIB


def test_weights_from_the_hub_have_no_size(tmp_path: Path) -> None:
    repo = deployable(tmp_path, "vllm", "hub-adapters", settings={"weights": "hub"})
    facts = read_facts(repo)
    assert facts.from_hub
    assert facts.weight_bytes is None


def test_without_a_lock_there_are_no_facts(tmp_path: Path) -> None:
    repo = deployable(tmp_path)
    (repo / "trtbuild.lock").unlink()
    with pytest.raises(RepositoryError, match=r"has no trtbuild\.lock") as caught:
        read_facts(repo)
    assert "trtbuild convert" in caught.value.fix


def test_several_images_are_refused(tmp_path: Path) -> None:
    repo = deployable(tmp_path)
    lock = lockfile.read(repo)
    other = replace(lock.models["llama"], image="other")
    lockfile.write(repo, lock.with_model("other", other))
    with pytest.raises(UsageError, match="need 2 different images"):
        read_facts(repo)
    assert read_facts(repo, image="mine").image == "mine"


def test_metrics_that_are_off_are_missing(tmp_path: Path) -> None:
    facts = read_facts(deployable(tmp_path, settings={"metrics": False}))
    assert not any(name.startswith("vllm:") for name in facts.metrics().families)
    assert facts.progress(facts.models[0]) == ""


@pytest.mark.parametrize(
    ("given", "exist", "missing"),
    [
        # NVIDIA's vLLM backend has neither a queue nor a KV gauge, in any release.
        (("vllm", "26.07"), {"first_token", "in_flight"}, {"queue", "kv_cache", "errors"}),
        (("vllm", "24.08"), {"first_token", "tokens"}, {"in_flight", "queue"}),
        (("vllm", "24.07"), {"dead_engine"}, {"first_token", "tokens"}),
        (("vllm", "24.06"), set(), {"dead_engine", "tokens"}),
        (("trtllm", "26.07"), {"first_token"}, {"tokens", "queue", "kv_cache"}),
        (("trtllm", "24.10"), set(), {"first_token"}),
        (("trtllm-engine", "26.06"), {"queue", "kv_cache"}, {"tokens"}),
        (("trtllm-engine", "26.07"), set(), {"queue", "kv_cache"}),
    ],
)  # fmt: skip
def test_a_signal_exists_only_with_its_metrics(
    given: tuple[str, str], exist: set[str], missing: set[str]
) -> None:
    builder, release = given
    metrics = metrics_of(Exporters(frozenset({builder}), release, decoupled=True))
    assert {name for name in exist if not metrics.signals[name].exists} == set()
    assert {name for name in missing if metrics.signals[name].exists} == set()
    for signal in metrics.missing:
        assert signal.missing


def test_the_gateway_completes_the_signals() -> None:
    bare = Exporters(frozenset({"trtllm"}), "26.07", decoupled=True)
    with_gateway = Exporters(frozenset({"trtllm"}), "26.07", decoupled=True, gateway=True)
    missing = {signal.name for signal in metrics_of(with_gateway).missing}
    assert missing == {"queue", "kv_cache", "stuck"}
    assert len(metrics_of(bare).missing) > 2


def test_labels_of_the_caller_narrow_every_series() -> None:
    signals = metrics_of(Exporters(frozenset({"vllm"}), "26.07", gateway=True)).signals
    narrow = signals["errors"].promql('namespace="prod"')
    assert narrow.count("trtbuild_gateway_requests_total{") == narrow.count('{namespace="prod"') > 1
    assert "MATCH" not in narrow + signals["errors"].promql()


def test_a_newer_release_than_was_read_is_said() -> None:
    metrics = metrics_of(Exporters(frozenset({"vllm"}), "26.07"))
    assert metrics.unread == (
        "the metrics of NVIDIA's vLLM backend are known up to 26.01; this is 26.07",
    )


def test_the_table_has_what_our_own_backend_exports() -> None:
    source = (ROOT / "templates/backends/vllm/backend_metrics.py").read_text(encoding="utf-8")
    tables: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("_COUNTERS", "_GAUGES", "_HISTOGRAMS") and isinstance(node.value, ast.Dict):
                tables[name] = [ast.literal_eval(key) for key in node.value.keys if key]
    ours = {f"vllm:{name}" for names in tables.values() for name in names}
    embedded = metrics_of(Exporters(frozenset({"vllm"}), "26.07", place="embedded"))
    assert {name for name in embedded.families if name.startswith("vllm:")} == ours


def test_the_table_has_what_the_gateway_exports(tmp_path: Path) -> None:
    exporters = Exporters(frozenset(), "26.07", gateway=True)
    table = {name: family.kind for name, family in metrics_of(exporters).families.items()}
    gate = gate_for(settings_of({"access": {"audit": {"path": str(tmp_path / "audit.jsonl")}}}))
    collected = [
        *Metrics().registry.collect(),
        *Report(list).collect(),
        *AccessReport(lambda: gate).collect(),
        *Figures().collect(0, 0),
    ]
    asyncio.run(gate.close())
    assert len(collected) > 20
    found = {
        f"{one.name}{'_total' if one.type == 'counter' else ''}": one.type for one in collected
    }
    found |= dict.fromkeys((f"trtbuild_gateway_model_{name}" for name in _HELP), "gauge")
    del found["trtbuild_gateway_model_cpu_seconds"]
    found["trtbuild_gateway_model_cpu_seconds_total"] = "counter"
    assert found.items() <= table.items()
    names = {name for name in table if name.startswith("trtbuild_gateway_")}
    assert names <= found.keys()


def test_every_expression_names_only_metrics_of_the_table() -> None:
    every = [
        metrics_of(Exporters(frozenset({builder}), release, True, place, gateway))
        for builder in ("vllm", "trtllm", "trtllm-engine")
        for release in ("24.06", "24.12", "26.06", "26.07")
        for place in ("image", "embedded")
        for gateway in (False, True)
    ]  # fmt: skip
    for metrics in every:
        for signal in metrics.signals.values():
            named = re.findall(r"\b((?:vllm:|nv_|gen_ai_|trtbuild_)\w+)\{", signal.template)
            stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
            assert {name for name in stems if name not in metrics.families} == set(), signal


def test_a_hung_model_is_told_by_its_own_counter() -> None:
    vllm = Exporters(frozenset({"vllm"}), "26.07", decoupled=True)
    assert progress_of(vllm, text=True) == "vllm:generation_tokens_total"
    assert progress_of(vllm, text=False) == ""


def test_sizes() -> None:
    assert shm_bytes(0, ranks=1) == GIB
    assert shm_bytes(20 * 64 * MIB, ranks=1) == 1280 * MIB
    assert shm_bytes(64 * MIB, ranks=2) == GIB + 64 * MIB
    assert memory_bytes(15 * GIB, GIB, ranks=1) == 24 * GIB
    assert load_seconds(["vllm", "onnx"], 30_000_000_000, 200_000_000) == 150 + 240
