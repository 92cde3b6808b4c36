"""What ``trtbuild observe`` writes: only metrics that exist, for every builder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.command_line import trtbuild
from support.deployments import deployable
from support.kubernetes import require_valid
from support.paths import TESTS
from support.prometheus import labels_by_series, selectors
from trtbuild.errors import RecipeError, UnsupportedError
from trtbuild.server import logs
from trtbuild_deploy.jobs.checking import check
from trtbuild_deploy.jobs.render import Deployment, render, write
from trtbuild_deploy.local import rotating
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import parse_settings
from trtbuild_deploy.workload import workload
from trtbuild_gateway.settings import settings_of

GATEWAY = "gateway: {enabled: true, image: example/gateway:1}\n"
PROD = "observe: {labels: {namespace: prod}, page: 'http://127.0.0.1:9/page', dashboard: true}\n"
CASES = [
    ("vllm", "plain", "26.07", ""),
    ("vllm", "plain", "24.10", GATEWAY + PROD),
    ("vllm", "plain", "26.07", "gpu: {mode: none}\nrehearsalImage: example/trtbuild:1\n"),
    ("trtllm", "plain", "26.07", GATEWAY + "weights: {size: 16Gi}\n"),
    ("trtllm-engine", "oldest", "25.01", PROD),
    ("onnx", "embed", "26.07", GATEWAY),
]


def rendered(root: Path, builder: str, case: str, release: str, settings: str) -> Deployment:
    root.mkdir(exist_ok=True)
    (root / "deploy.yaml").write_text(settings or "replicas: 1\n")
    repo = deployable(root, builder, case, release=release)
    return render("observe", repo, root / "deploy.yaml")


def rules_of(deployment: Deployment) -> list[dict[str, Any]]:
    (file,) = (file for file in deployment.files if file.path == "rules.yaml")
    return [rule for group in yaml.safe_load(file.content)["groups"] for rule in group["rules"]]


def dashboard_of(deployment: Deployment) -> dict[str, Any]:
    (content,) = (file.content for file in deployment.files if file.path == "dashboard.json")
    found: dict[str, Any] = json.loads(content)
    return found


@pytest.mark.parametrize(("builder", "case", "release", "settings"), CASES)
def test_every_metric_and_label_exists(
    tmp_path: Path, builder: str, case: str, release: str, settings: str
) -> None:
    deployment = rendered(tmp_path, builder, case, release, settings)
    place = "embedded" if deployment.settings.gpu.mode == "none" else "image"
    gateway = deployment.settings.gateway.enabled
    families = deployment.facts.metrics(gateway=gateway, place=place).families
    rules = rules_of(deployment)
    records = {rule["record"] for rule in rules if "record" in rule}
    ours = set(deployment.settings.observe.labels)
    expressions = [rule["expr"] for rule in rules]
    if deployment.settings.observe.dashboard:
        shown = dashboard_of(deployment)["panels"]
        expressions += [one["expr"] for panel in shown for one in panel["targets"]]
    for expression in expressions:
        for name, labels in selectors(expression):
            assert ours <= labels, expression
            if name in records or name == "up":
                continue
            family = families.get(name) or families[re.sub(r"_(bucket|sum|count)$", "", name)]
            assert labels - ours <= {*family.labels, "le"}, expression


def test_every_series_was_seen_on_a_real_page(tmp_path: Path) -> None:
    page = (TESTS / "data/expositions/vllm-embedded-24.10.prom").read_text()
    shown = labels_by_series(page)
    deployment = rendered(tmp_path, *CASES[2])
    rules = rules_of(deployment)
    records = {rule["record"] for rule in rules if "record" in rule}
    wanted = [pair for rule in rules for pair in selectors(rule["expr"]) if pair[0] != "up"]
    asked = [(name, labels) for name, labels in wanted if name not in records]
    assert {"vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"} < {name for name, _ in asked}
    assert {name for name, _ in asked} - set(shown) == set()
    assert [pair for pair in asked if not pair[1] <= shown[pair[0]]] == []


def test_every_alert_is_written_for_some_deployment(tmp_path: Path) -> None:
    table = tomllib.loads(data_file("alerts.toml").read_text())["alert"]
    written = {
        rule["alert"]
        for place, case in enumerate(CASES)
        for rule in rules_of(rendered(tmp_path / str(place), *case))
        if "alert" in rule
    }
    assert written == {row["name"] for row in table}


def test_a_dashboard_shows_every_signal_with_its_limit(tmp_path: Path) -> None:
    deployment = rendered(tmp_path, "trtllm-engine", "oldest", "25.01", PROD)
    found = dashboard_of(deployment)
    (source,) = found["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    titles = [panel["title"] for panel in found["panels"]]
    signals = deployment.facts.metrics().signals.values()
    assert {signal.title for signal in signals if signal.exists} <= set(titles)
    assert len({panel["id"] for panel in found["panels"]}) == len(titles) == len(set(titles))
    assert {panel["datasource"]["uid"] for panel in found["panels"]} == {"${datasource}"}
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found["panels"]}
    assert len(places) == len(titles)
    (cache,) = (panel for panel in found["panels"] if "KV cache" in panel["title"])
    assert cache["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == 0.95


def test_a_dashboard_without_its_extra_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders", None)
    with pytest.raises(UnsupportedError) as caught:
        rendered(tmp_path, "vllm", "plain", "26.07", PROD)
    assert "trtbuild[dashboards]" in caught.value.fix


def test_the_operators_object_has_the_same_groups(tmp_path: Path) -> None:
    settings = f"{GATEWAY}{PROD}monitoring: {{kind: podMonitor, labels: {{release: kube}}}}\n"
    write(rendered(tmp_path, "vllm", "plain", "26.07", settings), tmp_path / "out")
    one = yaml.safe_load((tmp_path / "out/prometheusrule.yaml").read_text())
    require_valid(one, "1.34")
    assert one["metadata"]["labels"] == {"release": "kube"}
    assert one["spec"] == yaml.safe_load((tmp_path / "out/rules.yaml").read_text())
    assert check(tmp_path / "out").findings == ()


def test_a_rules_file_with_an_unknown_metric_is_an_error(tmp_path: Path) -> None:
    rule = {"alert": "A", "expr": "vllm:num_requests_wating > 1"}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"rules": [rule]}]}))
    assert [found.rule for found in check(tmp_path).findings] == ["OBS101"]


@pytest.mark.parametrize(
    "expression",
    [
        "increase(trtbuild_gateway_audit_lines_lost_total[5m]) > 0",
        "sum(rate(trtbuild_gateway_experiment_request_seconds_count[5m])) > 1",
        "envoy_server_live < 1",  # of a proxy that is not ours
    ],
)
def test_metrics_that_a_deployment_may_have_are_no_errors(tmp_path: Path, expression: str) -> None:
    rule = {"alert": "A", "expr": expression}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"rules": [rule]}]}))
    assert check(tmp_path).findings == ()


def test_a_series_may_be_recorded_in_another_file(tmp_path: Path) -> None:
    for name, rule in (
        ("alerts", {"alert": "A", "expr": "trtbuild:queue > 1"}),
        ("recorded", {"record": "trtbuild:queue", "expr": "sum(vllm:num_requests_waiting)"}),
    ):
        text = yaml.safe_dump({"groups": [{"rules": [rule]}]})
        (tmp_path / f"{name}.yaml").write_text(text)
    assert check(tmp_path).findings == ()
    (tmp_path / "recorded.yaml").unlink()
    assert [found.rule for found in check(tmp_path).findings] == ["OBS102"]


def test_a_dashboard_is_checked_as_rules_are(tmp_path: Path) -> None:
    write(rendered(tmp_path, "vllm", "plain", "26.07", GATEWAY + PROD), tmp_path / "out")
    checked = check(tmp_path / "out")
    assert "dashboard.json" in checked.looked_at
    assert checked.findings == ()
    board = tmp_path / "out/dashboard.json"
    board.write_text(board.read_text().replace("trtbuild_gateway_requests_total", "nv_unknown"))
    (found,) = {one.rule for one in check(tmp_path / "out").findings}
    assert found == "OBS101"


def test_pages_and_the_rest_go_to_their_own_webhooks(tmp_path: Path) -> None:
    deployment = rendered(tmp_path, "vllm", "plain", "26.07", PROD)
    (file,) = (file for file in deployment.files if file.path == "alertmanager.yaml")
    found = yaml.safe_load(file.content)
    receivers = {one["name"]: one for one in found["receivers"]}
    assert receivers["page"]["webhook_configs"] == [{"url": "http://127.0.0.1:9/page"}]
    assert receivers["notify"] == {"name": "notify"}
    assert found["route"]["routes"][0]["matchers"] == ['severity="page"']
    # A dead engine hides what follows from it, and not another model's alerts.
    stuck, whole, same = found["inhibit_rules"]
    assert stuck["equal"] == whole["equal"] == ["namespace"]
    assert 'model=""' in whole["target_matchers"]
    assert same["equal"] == ["model", "namespace"]


def test_the_command_says_which_alerts_are_missing(tmp_path: Path) -> None:
    repo = deployable(tmp_path)
    done = trtbuild("observe", repo, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "no alert TritonQueueLong: no gauge of the queue is exported" in done.stderr
    assert "no alert TritonErrors: deploy the gateway" in done.stderr
    assert "alerts of severity page reach nobody: set 'observe.page'" in done.stderr
    same = trtbuild("deploy", "diff", repo, "-o", tmp_path / "out", "--check")
    assert same.returncode == 0, same.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("observe: {labels: {namespace: '{{ .X }}'}}", "observe.labels.namespace"),
        ('observe: {labels: {namespace: "a\\nb"}}', "observe.labels.namespace"),
        ("observe: {labels: {severity: none}}", "is a label of the rules"),
        ("observe: {page: 'https://user:key@example.org'}", "observe.page"),
        ("observe: {errors: 2}", "observe.errors"),
        ("observe: {otlp: 'https://user:key@example.org'}", "observe.otlp"),
        ("observe: {otlpAuthorization: KEY}", "needs 'observe.otlp'"),
        ("observe: {first_tokn: 2}", "first_tokn"),
    ],
)
def test_what_would_not_survive_in_a_rule_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_settings(text)
    assert said in "\n".join((caught.value.what, *caught.value.details))


LOGS = "observe: {loki: 'http://loki:3100', elasticsearch: 'https://es:9200'}\n"


def pipeline(root: Path, settings: str = LOGS) -> dict[str, Any]:
    deployment = rendered(root, "vllm", "plain", "26.07", f"name: chat\n{settings}{GATEWAY}")
    (file,) = (file for file in deployment.files if file.path == "logs.yaml")
    found: dict[str, Any] = yaml.safe_load(file.content)
    return found


def test_logs_go_where_the_settings_say(tmp_path: Path) -> None:
    both = pipeline(tmp_path / "both")
    assert both["exporters"]["otlphttp/loki"]["endpoint"] == "http://loki:3100/otlp"
    assert both["exporters"]["elasticsearch"]["endpoints"] == ["https://es:9200"]
    assert both["exporters"]["elasticsearch"]["api_key"].startswith("${env:")
    one = pipeline(tmp_path / "one", "observe: {loki: 'http://loki:3100'}\n")
    assert list(one["exporters"]) == ["otlphttp/loki"]
    for made in (both, one):
        named = made["service"]["pipelines"]["logs"]
        for kind in ("receivers", "processors", "exporters"):
            assert set(named[kind]) == set(made[kind])
        (store,) = made["service"]["extensions"]
        assert store in made["extensions"]
        keeping = [*made["receivers"].values(), made["exporters"]["otlphttp/loki"]["sending_queue"]]
        assert {one["storage"] for one in keeping} == {store}
    assert "/server/" in both["receivers"]["filelog/server"]["include"][0]
    container = {one["type"] for one in both["receivers"]["filelog/gateway"]["operators"]}
    assert {"container", "json_parser", "trace_parser"} <= container


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("https://otlp.example.org:443", "https://otlp.example.org:443"),
        ("https://es:9200/_otlp/", "https://es:9200/_otlp"),
        ("http://edot:4318/v1/logs", "http://edot:4318"),
    ],
)
def test_logs_go_to_any_receiver_of_otlp(tmp_path: Path, address: str, endpoint: str) -> None:
    given = f"observe: {{otlp: '{address}', otlpAuthorization: OTLP_KEY}}\n"
    (exporter,) = pipeline(tmp_path, given)["exporters"].values()
    assert exporter["endpoint"] == endpoint
    assert exporter["headers"] == {"Authorization": "${env:OTLP_KEY}"}
    assert exporter["sending_queue"]["storage"] == "file_storage"


def test_a_header_in_place_of_its_variable_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text(
        "observe: {otlp: 'https://otlp.example.org', otlpAuthorization: 'ApiKey c2VjcmV0'}\n"
    )
    repo = deployable(tmp_path)
    done = trtbuild("observe", repo, "-f", tmp_path / "deploy.yaml", "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "must name the variable that holds the header" in done.stderr
    assert "c2VjcmV0" not in done.stdout + done.stderr


@pytest.mark.parametrize("logs", [LOGS, "observe: {otlp: 'http://edot:4318'}\n"])
def test_a_gateway_whose_log_is_shipped_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: str
) -> None:
    deployment = rendered(tmp_path, "vllm", "plain", "26.07", logs + GATEWAY)
    gateway = workload(deployment.facts, deployment.settings).gateway
    assert gateway is not None
    assert settings_of({}).log_format == "text"
    for name, value in gateway.env.items():
        monkeypatch.setenv(name, value)
    assert settings_of({}).log_format == "json"


def test_the_pipeline_reads_triton_s_lines_as_the_program_does(tmp_path: Path) -> None:
    parser = pipeline(tmp_path)["receivers"]["filelog/server"]["operators"][1]
    # The collector's expressions are RE2's: no looking around, no references.
    assert not re.search(r"\(\?[=!<][^P]?|\\\d", parser["regex"].replace("(?P<", "("))
    pattern = re.compile(parser["regex"])
    levels = {mark: name for name, mark in parser["severity"]["mapping"].items()}
    recorded = tomllib.loads((TESTS / "data/real_logs.toml").read_text())["log"]
    lines = [line for one in recorded for line in one["text"].splitlines()]
    seen = 0
    for text in lines:
        line = logs.parse(text)
        found = pattern.match(text)
        if not re.match(r"[VIWEF]\d{4} ", text):
            assert found is None
        elif line.level:
            seen += 1
            assert found is not None, text
            assert levels[found["level"]].startswith(line.level[:4])
            assert found["source"] == line.source
            assert found["when"].split()[1].startswith(line.time)
            assert found["message"].split("\\")[0].strip('"') in line.message
    assert seen > 50


def test_a_log_that_begins_anew_keeps_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    argv = [sys.executable, "-I", str(rotating.__file__), str(log), "1000"]
    lines = [b"%d %s\n" % (number, b"x" * (number % 97)) for number in range(500)] + [b"y" * 3000]
    subprocess.run(argv, input=b"".join(lines), check=True)
    before = log.with_name("log.1")
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1"}
    assert max(path.stat().st_size for path in (log, before)) <= 1000
    assert b"".join(lines).endswith(before.read_bytes() + log.read_bytes())
