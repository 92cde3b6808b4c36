"""The pipeline of logs in the collector itself: what leaves it from a pod's files."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deployments import deployable
from support.log_collector import PORT, log_collector
from support.paths import TESTS
from trtbuild.server.log_json import as_json
from trtbuild_deploy.jobs.render import render
from trtbuild_gateway.telemetry.logs import JsonFormatter

pytestmark = pytest.mark.nightly

SETTINGS = f"""
name: chat
observe:
  loki: "http://127.0.0.1:{PORT}"
  otlp: "http://127.0.0.1:{PORT}/_otlp"
  otlpAuthorization: OTLP_KEY
gateway: {{enabled: true, image: example/gateway:1}}
"""
TRITON = re.compile(r"[VIWEF]\d{4} ")
UID = "1f0e1e2e-0000-4000-8000-000000000001"
CAME = {"/otlp/v1/logs": None, "/_otlp/v1/logs": "ApiKey c2VjcmV0"}
"""The Authorization with which records come to Loki, and to the receiver of OTLP."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def configuration(root: Path) -> dict[str, Any]:
    """The configuration, for pods in a directory of ours."""
    (root / "deploy.yaml").write_text(SETTINGS)
    deployment = render("observe", deployable(root), root / "deploy.yaml")
    (text,) = (one.content.decode() for one in deployment.files if one.path == "logs.yaml")
    found: dict[str, Any] = yaml.safe_load(text.replace("/var/log/pods", str(root / "pods")))
    # This collector is built without the extension.
    del found["extensions"], found["service"]["extensions"]
    for receiver in found["receivers"].values():
        assert receiver.pop("storage") == "file_storage"
    for exporter in found["exporters"].values():
        del exporter["sending_queue"]
    return found


def appended(root: Path, container: str, lines: list[str]) -> None:
    """More of a container's log, as the kubelet has it."""
    folder = root / "pods" / f"prod_chat-5d8_{UID}" / container
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "0.log").open("a") as log:
        log.writelines(f"2026-11-30T14:00:00.000000001Z stderr F {line}\n" for line in lines)


def recorded() -> list[str]:
    """What real Tritons and their models printed."""
    cases = tomllib.loads((TESTS / "data/real_logs.toml").read_text())["log"]
    lines = [line.strip() for case in cases for line in case["text"].splitlines() if line.strip()]
    request = 'E1128 18:27:24.524766 29 infer_handler.cc:745] "[request id: 17] queue is full"'
    return [request, *lines[:20], *[line for line in lines if TRITON.match(line)][:60]]


def of_gateway() -> str:
    """A line about a request."""
    record = logging.makeLogRecord(
        {"name": "trtbuild.gateway", "levelno": 30, "levelname": "WARNING", "msg": "slow"}
    )
    record.identity = {"request_id": "r1", "trace_id": TRACE}
    record.fields = {"status": 200}
    return JsonFormatter().format(record)


def attributes(record: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}


def moment(record: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(record["timeUnixNano"]) / 1e9, UTC)


def test_each_line_arrives_with_its_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, line = recorded(), of_gateway()
    appended(tmp_path, "server", lines[:9])
    monkeypatch.setenv("OTLP_KEY", CAME["/_otlp/v1/logs"] or "")
    with log_collector(configuration(tmp_path), tmp_path) as records:
        found = list(itertools.islice(records, 9 * len(CAME)))  # of before the collector began
        appended(tmp_path, "server", lines[9:])
        appended(tmp_path, "gateway", [line])
        found += itertools.islice(records, (len(lines) - 9 + 1) * len(CAME))
    assert {(one["path"], one["key"]) for one in found} == set(CAME.items())
    for path in CAME:
        arrived_whole([one for one in found if one["path"] == path], lines, line)


def arrived_whole(found: list[dict[str, Any]], lines: list[str], line: str) -> None:
    from_gateway = [one for one in found if "traceId" in one]
    same_as_gateway(from_gateway, json.loads(line))
    of_server = [one for one in found if one not in from_gateway]
    for text, record in zip(lines, of_server, strict=True):
        same_as_own(text, record)


def same_as_gateway(records: list[dict[str, Any]], line: dict[str, Any]) -> None:
    (record,) = records
    assert base64.b64decode(record["traceId"]).hex() == TRACE
    assert record["body"]["stringValue"] == line["message"]
    assert record["severityNumber"] == "SEVERITY_NUMBER_WARN"
    assert moment(record).isoformat(timespec="milliseconds") == line["time"]
    assert attributes(record).items() >= {"request_id": "r1", "status": 200}.items()


def same_as_own(text: str, record: dict[str, Any]) -> None:
    """The collector and ``serve --log-format json`` read a line alike."""
    own = json.loads(as_json(text))
    where = {one["key"] for one in record["resource"]["attributes"]}
    assert {"k8s.namespace.name", "k8s.pod.name", "k8s.container.name"} <= where
    body, about = record["body"]["stringValue"], attributes(record)
    if not TRITON.match(text):
        assert body == text
        assert "severityNumber" not in record
        return
    # A message stays the JSON string that Triton writes, without its quotes.
    assert body.split("\\")[0].strip('"') in own["message"]
    assert about["source"] == own["source"]
    assert about.get("request_id") == own.get("request_id")
    assert record["severityNumber"].removeprefix("SEVERITY_NUMBER_")[:4].lower() in own["level"]
    assert moment(record).strftime("%m-%dT%H:%M:%S") == own["time"][5:19]
