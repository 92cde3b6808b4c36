"""``deploy.yaml``: what it may say, and every refusal with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trtbuild.errors import RecipeError
from trtbuild_batch.scheduling.kubernetes import _dumped
from trtbuild_deploy.settings import Settings, load_settings, parse_settings
from trtbuild_deploy.settings.loading import with_environment
from trtbuild_deploy.settings.values import name_of, quantity_bytes
from trtbuild_deploy.targets.yamltext import yaml_bytes
from trtbuild_measure.bench.metrics.goodput import parse_slo

REFUSED = [
    ("nmae: x\n", "unknown key 'nmae': did you mean 'name'?", 1),
    ("gpu:\n  cuont: 1\n", "unknown key 'gpu.cuont': did you mean 'count'?", 2),
    ("name: Bad_Name\n", "'Bad_Name' cannot be a name in Kubernetes", 1),
    (f"name: {'a' * 41}\n", "cannot be a name in Kubernetes: use 1 to 40", 1),
    ("name: |\n  a\n  b\n", "cannot be a name in Kubernetes", 1),
    ("name: 7b-chat\n", "'-', starting with a letter and ending with a letter or digit", 1),
    ("environments: {'': {replicas: 2}}\n", "'' cannot be a name in Kubernetes", 1),
    ("image: 'a {{ .Values }}'\n", "is not an image", 1),
    ("server:\n  env:\n    HF_TOKEN: x\n", "'server.env.HF_TOKEN' is a secret by its name", 2),
    ("server:\n  env:\n    'A B': x\n", "'A B' cannot be the name of a variable", 3),
    ('server:\n  env: {A: "a\\0b"}\n', "'server.env.A' has a zero byte", 2),
    ("server:\n  memory: 4XB\n", "'4XB' is not a size", 2),
    ("weights: hub\n", "'weights' must be a mapping, not text 'hub'", 1),
    ("replicas: two\n", "'replicas' must be a valid integer, not text 'two'", 1),
    ("replicas: -1\n", "'replicas' must be greater than or equal to 0", 1),
    ("weights:\n  from: nfs\n", "'weights.from' must be 'claim', 'image', 's3' or 'hub'", 2),
    (f"server: {{memory: '{'9' * 400}'}}\n", "is not a size", 1),
    ("weights: {bandwidth: 0K}\n", "'0K' is not a size", 1),
    ("weights: {bandwidth: '0'}\n", "'0' is not a size: give one", 1),
    ("gateway: {memory: ''}\n", "'' is not a size", 1),
    ("gpu: {profile: 10gb}\n", "'gpu.profile' must be a MIG profile, such as 1g.10gb", 1),
    ("weights: {path: ../etc}\n", "'weights.path' must be a directory below the root", 1),
    ("weights: {claim: My Claim}\n", "'weights.claim' must be a name in Kubernetes", 1),
    ("tracing: {url: 'http://a:99999/v1'}\n", "'tracing.url' must be a URL with http", 1),
    ("tracing: {url: 'http://[::1/v1'}\n", "'tracing.url' must be a URL with http", 1),
    ("argo: {repository: 'https://me:s3cret@git/x'}\n", "'argo.repository' has a login", 1),
    ("compose: {address: '0.0.0.0:80'}\n", "must be an IP address without a port", 1),
    ("argo: {prometheus: ''}\n", "'argo.prometheus' must be a URL with http", 1),
    ("autoscaling: {prometheus: ''}\n", "'autoscaling.prometheus' must be a URL with http", 1),
    ("argo: {path: ''}\n", "'argo.path' must be a directory of the repository", 1),
    ("argo: {path: ../x}\n", "'argo.path' must be a directory of the repository", 1),
    ("gate: {slo: ttft=..s}\n", "'gate.slo' must be objectives, such as ttft=500ms", 1),
    ("route: {hostnames: ['*']}\n", "'route.hostnames[0]' must be a host name", 1),
    ("server: {loadSeconds: 999999999999}\n", "'server.loadSeconds' must be less than", 1),
    ("route: {timeout: 100000}\n", "'route.timeout' must be less than", 1),
    ("server: {tolerations: [{value: x}]}\n", "needs 'operator: Equal'", 1),
    ("server: {tolerations: [{operator: Equal}]}\n", "needs a 'key'", 1),
    ("monitoring: {labels: {helm.sh/chart: x}}\n", "'helm.sh/chart' is set by the chart", 1),
    ("server: {nodeSelector: {a b: c}}\n", "'server.nodeSelector.a b' must be a label", 1),
    (
        "server: {env: {A: x}, secrets: {A: {name: a, key: b}}}\n",
        "'A' is under server.env and server.secrets",
        1,
    ),
    ("image: 'a::b'\n", "'a::b' is not an image", 1),
    ("gpu:\n  mode: mig\n  mode: dra\n", "the key 'mode' is given twice", 3),
    ("environments:\n  prod:\n    replcas: 3\n", "unknown key 'environments.prod.replcas'", 3),
    (
        "environments:\n  prod:\n    environments: {}\n",
        "'environments.prod.environments': they cannot be nested",
        3,
    ),
]


@pytest.mark.parametrize(("text", "said", "line"), REFUSED)
def test_a_refusal_names_the_key_and_the_line(text: str, said: str, line: int) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_settings(text, where="deploy.yaml")
    assert said in caught.value.what
    assert "s3cret" not in str(caught.value.as_dict())
    assert caught.value.where == f"deploy.yaml:{line}"
    assert "trtbuild deploy schema" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x: &a [*a]", "nested too deeply"),
        ("- a", "is a list"),
        ("", "is empty"),
        ("a: [", "YAML"),
        (f"replicas: {'9' * 5000}", "is not YAML: Exceeds the limit"),
        ("a: 0x_", "is not YAML"),
        ("[" * 1000, "nested too deeply"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_settings(text)


def test_several_problems_come_together() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_settings("nmae: x\nreplicas: -1\n")
    assert caught.value.what == "the deployment file has 2 problems"
    assert len(caught.value.details) == 2


@pytest.mark.parametrize("key", ["name", "replicas", "image", "weights"])
def test_a_long_value_is_quoted_in_part(key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_settings(f"{key}: {'x' * 65536}\n")
    assert len(caught.value.what) < 500
    assert " … " in caught.value.what


def test_names_of_others_may_be_longer_than_ours() -> None:
    name = "registry.example.org-" + "a" * 40
    text = f"server: {{pullSecrets: [{name}], secrets: {{HF_TOKEN: {{name: {name}, key: a}}}}}}\n"
    assert parse_settings(text).server.pull_secrets == (name,)


@pytest.mark.parametrize("name", ["ttft", "itl", "icl", "tpot", "e2e"])
def test_the_gate_takes_the_objectives_of_bench(name: str) -> None:
    slo = f"{name}=0.5s,{name}=20ms"
    assert parse_settings(f"gate: {{slo: '{slo}'}}\n").gate.slo == slo
    assert parse_slo(slo.partition(",")[0]) == {f"{name}_ms": 500}


@pytest.mark.parametrize("end", ["", "/", "?user=me@x", "#me@x", "/a?b=//c@d"])
def test_an_address_without_a_login_is_taken(end: str) -> None:
    url = f"http://collector:4318{end}"
    assert parse_settings(f"tracing: {{url: '{url}'}}\n").tracing.url == url


@pytest.mark.parametrize("path", [".", "deploy/argo", "./deploy/argo"])
def test_where_the_output_may_lie_in_its_repository(path: str) -> None:
    assert parse_settings(f"argo: {{path: {path}}}\n").argo.path == path


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"the deployment file 'deploy\.yaml' does not exist"):
        load_settings(tmp_path / "deploy.yaml")
    assert load_settings(None) == Settings()


def test_an_environment_changes_single_keys() -> None:
    text = "gpu: {count: 2}\nenvironments:\n  prod:\n    gpu: {perNode: 4}\n    replicas: 3\n"
    settings = parse_settings(text)
    prod = with_environment(settings, "prod", {"replicas": 2, "network": {"egress": "none"}})
    assert (prod.gpu.count, prod.gpu.per_node, prod.replicas) == (2, 4, 3)
    assert prod.network.egress == "none"
    assert with_environment(settings, "dev", {}).replicas is None


@pytest.mark.parametrize(
    "text", ["n", "Y", "1e3", "12E4567", ".5e3", "0o17", "0xAF", "0b1", "09", "-.5", "+_1", "-__.5"]
)
def test_a_text_is_one_for_helm_too(text: str) -> None:
    assert yaml_bytes({"a": text}) == f"a: '{text}'\n".encode() == _dumped({"a": text}).encode()


@pytest.mark.parametrize("text", ["\x85a", "a\n\u2028b", "a\u2029\n"])
def test_a_rare_line_break_is_written_as_an_escape(text: str) -> None:
    written = yaml_bytes({"a": text})
    assert written.isascii()
    assert written == _dumped({"a": text}).encode()
    assert yaml.safe_load(written) == {"a": text}


def test_values() -> None:
    assert quantity_bytes("16Gi") == 16 << 30
    assert quantity_bytes("200M") == 200_000_000
    assert name_of("My Models_v2!") == "my-models-v2"
    assert name_of("___") == ""
    assert name_of("7b_chat") == "models-7b-chat"
