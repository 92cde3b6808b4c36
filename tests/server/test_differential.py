"""The validator and the real server agree: on the corpus, on every rule's examples, on what
Hypothesis makes up. ``scripts/differential.py`` is the long mode."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from tritonclient.utils import InferenceServerException

from support import triton
from support.cases import CRASHED, RELEASE, Case, corpus, disagreement
from support.config_faults import CONFIGS
from support.generated import ENSEMBLE, PLAIN, repositories
from support.judge import Judge, judges, judging
from support.lanes import rounds
from trtbuild import check

Court = dict[bool, Judge]


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """A server that completes configurations (``True``), and one that does not."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the null backend")
    with judges(tmp_path_factory.mktemp("court")) as pair:
        yield pair


def test_the_server_still_says_what_the_corpus_holds(court: Court) -> None:
    changed = {
        case.name: (verdicts, case.says)
        for _, case in corpus()
        if not same(verdicts := court[case.auto_complete].decide(case)[0], case.says)
    }
    assert changed == {}


def same(verdicts: Mapping[str, str], recorded: Mapping[str, str]) -> bool:
    """After a wrong initial state the server says why, or dies: its threads race."""
    return all(
        said == recorded[model] or (said and CRASHED in (said, recorded[model]))
        for model, said in verdicts.items()
    )


def test_the_server_agrees_on_every_fault_of_a_configuration(court: Court) -> None:
    """Those that the unit tests know by line and column."""
    for text, rule, *_ in CONFIGS:
        case = Case(rule, {"m": text}, files={"m/1/model.py": ""})
        if rule != "TRT307":
            assert disagreement(*court[False].decide(case)) == "", text


ENDLESS = "TRT212"  # of which the server never says anything
UNASKED = {ENDLESS, "TRT209"}  # the latter is a model.py that the null backend does not read

EXAMPLES = [
    pytest.param(example, id=f"{rule.id}-{kind}")
    for rule in check.all_rules()
    for kind, examples in (("bad", rule.bad), ("good", rule.good))
    for example in examples
    if rule.id < "TRT6" and rule.scope == "model" and example.base in ("python", "ensemble")
    if kind == "good" or rule.id not in UNASKED
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_server_agrees_on_the_examples_of_the_rules(
    court: Court, example: check.Example, tmp_path: Path
) -> None:
    check.write_example(example, tmp_path)
    paths = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*")}
    links = {name: str(path.readlink()) for name, path in paths.items() if path.is_symlink()}
    real = {name: path for name, path in paths.items() if name not in links}
    files = {
        name: path.read_bytes().decode("utf-8", "surrogateescape")
        for name, path in real.items()
        if path.is_file()
    }
    folders = tuple(name for name, path in real.items() if path.is_dir())
    complete = example.auto_complete
    case = Case("example", folders=folders, files=files, links=links, auto_complete=complete)
    if example.gpus or example.triton > RELEASE:
        pytest.skip("about a server with GPUs, or a newer one")
    assert disagreement(*court[case.auto_complete].decide(case)) == ""


@pytest.mark.long
@settings(
    max_examples=rounds(100, 4000),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(case=repositories())
def test_the_server_agrees_on_generated_repositories(court: Court, case: Case) -> None:
    assert disagreement(*court[case.auto_complete].decide(case)) == ""


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Two repositories: ``m`` in both, an ensemble over the ``n`` of the other in the first, and
    a broken custom configuration of ``c``."""
    repos = folder / "one", folder / "two"
    m, n, c = (PLAIN.format(name=name, batch=4) for name in "mnc")
    ensemble = ENSEMBLE.format(batch=4).replace('model_name: "m"', 'model_name: "n"')
    wrong = {"c/configs/h100.pbtxt": c.replace("max_batch_size: 4", "max_batch_size: -4")}
    Case("one", {"m": m, "e": ensemble, "c": c}, files=wrong).write(repos[0])
    Case("two", {"m": m, "n": n}).write(repos[1])
    return repos


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (check.Options(gpus=0), ()),
        (
            check.Options(gpus=0, namespacing=True, config_name="h100"),
            ("--model-namespacing=true", "--model-config-name=h100"),
        ),
    ],
    ids=["plain", "namespaces"],
)
def test_the_server_agrees_on_two_repositories(
    court: Court, tmp_path: Path, options: check.Options, flags: tuple[str, ...]
) -> None:
    repos = write_pair(tmp_path)
    refused = {
        (found.model, found.server_message)
        for found in check.validate_all(repos, options).findings
        if found.severity is check.Severity.ERROR
    }
    backends = f"--backend-directory={court[False].work / 'null_backends'}"
    loose = ("--exit-on-error=false", "--strict-readiness=false")
    more = f"--model-repository={repos[1]}"
    with triton.serving(repos[0], tmp_path / "work", more, backends, *loose, *flags) as server:
        index = httpx.post(f"http://{server.http}/v2/repository/index", json={}, timeout=60).json()
        log = server.log.read_text(errors="replace")
    ready = {row["name"] for row in index if row.get("state") == "READY"}
    assert {row["name"] for row in index} - ready == {model for model, _ in refused}
    assert all(sentence in log for _, sentence in refused)


def test_the_server_agrees_on_resources_when_it_limits_rates(tmp_path: Path) -> None:
    rule = next(rule for rule in check.all_rules() if rule.id == "TRT354")
    with judging(tmp_path, "--rate-limit=execution_count") as judge:
        for example, loads in ((rule.bad[0], False), (rule.good[0], True)):
            text = PLAIN.format(name="m", batch=4) + example.config
            verdicts, report = judge.decide(Case("limited", {"m": text}))
            said = [found.server_message for found in report.findings if found.rule == rule.id]
            assert (verdicts["m"] == "") is loads
            assert verdicts["m"] == CRASHED or all(sentence in verdicts["m"] for sentence in said)
            assert bool(said) is not loads


def test_the_server_never_answers_where_links_lead_back_twice(tmp_path: Path) -> None:
    rule = next(rule for rule in check.all_rules() if rule.id == ENDLESS)
    with judging(tmp_path) as judge:
        took = 0.0
        for example, answers in ((rule.good[1], True), (rule.bad[0], False)):
            check.write_example(example, judge.repo)
            began = time.monotonic()
            try:
                # Far longer than the one takes that is answered.
                judge.client.load_model("m", client_timeout=180 if answers else 3 + 20 * took)
                said = True
            except InferenceServerException as error:
                said = "Deadline" not in str(error)
            took = time.monotonic() - began
            assert said is answers
            shutil.rmtree(judge.repo / "m")
            if not said:
                judge.server.process.kill()
                judge.start()


MODEL = """
class TritonPythonModel:
    {}
    def execute(self, requests):
        return []
"""
COMPLETES = """@staticmethod
    def auto_complete_config(config):
        {}
        return config
"""
IN = '{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}'
OUT = '{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}'
BOTH = f"config.add_input({IN}); config.add_output({OUT})"
OVER = """
name: "e" platform: "ensemble" max_batch_size: {}
input {{ name: "A" data_type: TYPE_FP32 dims: [ 4 ] }}
output {{ name: "B" data_type: TYPE_FP32 dims: [ 4 ] }}
ensemble_scheduling {{ step {{ model_name: "p" model_version: -1
  input_map {{ key: "IN" value: "A" }} output_map {{ key: "OUT" value: "B" }} }} }}
"""
LOOPS = f"""for one in [{IN}]:
            config.add_input(one)
        outputs = [{OUT}]
        names = [one["name"] for one in config.as_dict()["output"]]
        for one in outputs:
            if one["name"] not in names:
                config.add_output(one)"""
COMPLETING = {
    "both": (BOTH, 0),
    "a batch": (f"config.set_max_batch_size(8); {BOTH}", 8),
    "too small a batch": (f"config.set_max_batch_size(4); {BOTH}", 8),
    "no batch for an ensemble with one": (BOTH, 8),
    "another type": (BOTH.replace("FP32", "INT64"), 0),
    "another shape": (BOTH.replace("[4]", "[5]"), 0),
    "an open shape": (BOTH.replace("[4]", "[-1]"), 0),
    "another name": (BOTH.replace("IN", "INPUT"), 0),
    "no output": (f"config.add_input({IN})", 0),
    "one more input": (f"{BOTH}; config.add_input({IN.replace('IN', 'MORE')})", 0),
    "one more optional": (
        f"{BOTH}; config.add_input({IN.replace('IN', 'MORE')[:-1]}, 'optional': True}})", 0
    ),
    "loops": (LOOPS, 0),
    "under a condition": (f"if config.as_dict()['name'] == 'p': {BOTH}", 0),
    "handed on": (f"(lambda c: (c.add_input({IN}), c.add_output({OUT})))(config)", 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def python_court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """A server with the real Python backend that completes configurations."""
    with judging(tmp_path_factory.mktemp("python"), complete=True, python=True) as judge:
        yield judge


@pytest.mark.parametrize("name", COMPLETING)
def test_the_server_agrees_on_members_that_complete_themselves(
    python_court: Judge, name: str
) -> None:
    body, batch = COMPLETING[name]
    source = MODEL.format(COMPLETES.format(body))
    files = {"p/1/model.py": source}
    case = Case(name, {"e": OVER.format(batch)}, files=files, auto_complete=True)
    verdicts, report = python_court.decide(case)
    assert disagreement(verdicts, report) == ""


def test_the_server_agrees_on_a_model_that_completes_nothing(python_court: Judge) -> None:
    files = {"p/1/model.py": MODEL.format("")}
    case = Case("nothing", {"e": OVER.format(0)}, files=files, auto_complete=True)
    verdicts, report = python_court.decide(case)
    assert disagreement(verdicts, report) == ""


def test_the_server_refuses_a_python_model_without_its_environment(python_court: Judge) -> None:
    rule = next(rule for rule in check.all_rules() if rule.id == "TRT635")
    check.write_example(rule.bad[0], python_court.repo)
    (found,) = [one for one in check.validate(python_court.repo).findings if one.rule == rule.id]
    with pytest.raises(InferenceServerException) as refused:
        python_court.client.load_model("m")
    shutil.rmtree(python_court.repo / "m")
    said = found.server_message.replace("/models", str(python_court.repo))
    assert said in str(refused.value)


def test_the_server_agrees_on_what_a_python_model_leaves_out(python_court: Judge) -> None:
    config = (
        'name: "p" backend: "python" input { name: "IN" dims: 4 } output { name: "OUT" dims: 4 }'
    )
    for body, refused in ((BOTH, False), ("pass", True)):
        files = {"p/1/model.py": MODEL.format(COMPLETES.format(body))}
        case = Case("left out", {"p": config}, files=files, auto_complete=True)
        verdicts, report = python_court.decide(case)
        assert bool(verdicts["p"]) is refused
        assert disagreement(verdicts, report) == ""
