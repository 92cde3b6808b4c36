"""The pipelines: their schemas, and their scripts, which are run with programs that only note."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.deployments import deployable
from support.paths import JSON_SCHEMAS, ROOT
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.jobs.render import render, write

REFERENCE = "registry.example.org:5000/chat-models:main"
DIGEST = f"sha256:{'d' * 64}"
SETTINGS = f"""
name: chat
gateway: {{enabled: true, image: "example/gateway:1"}}
route: {{parents: [public]}}
gate: {{image: "example/trtbuild:1", slo: "ttft=2s,tpot=100ms", golden: golden}}
weights: {{from: image, reference: "{REFERENCE}"}}
"""
FILES = {"github": ".github/workflows/deploy-chat.yml", "gitlab": ".gitlab-ci.yml"}

# Notes how it was called; FAILS is the beginning of a call that fails.
NOTING = """\
#!/bin/sh
call="$(basename "$0") $*"
echo "$call" >> "$LOG"
case "$call" in
    "${FAILS:-nothing}"*) exit 9 ;;
    "docker buildx"*) echo "{\\"containerimage.digest\\": \\"$DIGEST\\"}" > metadata.json ;;
    "kubectl get"*) echo 7 ;;
    "docker login"*) cat > password ;;
    "gh api"*) cat > sent ;;
    "helm upgrade"*)
        cp "$KUBECONFIG" kubeconfig
        echo "${call##*--labels }" > labels
        ;;
    "helm list"*) if [ "${call##*--selector }" = "$(cat labels)" ]; then echo chat; fi ;;
esac
"""
# The real one, but it waits for no port, only until somebody was asked to forward it.
PYTHON = f"""\
#!/bin/sh
case "$*" in
    *"pip install"*) echo "python3 $*" >> "$LOG" ;;
    *"import socket"*) until grep -q port-forward "$LOG"; do sleep 0.05; done ;;
    *) exec {shlex.quote(sys.executable)} "$@" ;;
esac
"""


@pytest.fixture(scope="module", params=["github", "gitlab"])
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of one CI system."""
    root = tmp_path_factory.mktemp(request.param)
    (root / "deploy.yaml").write_text(SETTINGS)
    write(render(request.param, deployable(root), root / "deploy.yaml"), root)
    return root


def system(checkout: Path) -> str:
    return next(name for name, path in FILES.items() if (checkout / path).exists())


def document(checkout: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((checkout / FILES[system(checkout)]).read_text())
    return found


def commands(checkout: Path) -> dict[str, list[str]]:
    """The commands of each job, in the order in which the jobs run."""
    found = document(checkout)
    if "jobs" in found:
        steps = {name: job["steps"] for name, job in found["jobs"].items()}
        return {name: [s["run"] for s in each if "run" in s] for name, each in steps.items()}
    return {name: job["script"] for name, job in found.items() if "script" in job}


def run(checkout: Path, job: str, **more: str) -> tuple[int, list[str]]:
    """Run a job's commands as its CI does: until one fails."""
    programs = checkout / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("trtbuild", "docker", "helm", "kubectl", "gh"):
        (programs / name).write_text(NOTING)
    (programs / "python3").write_text(PYTHON)
    for program in programs.iterdir():
        program.chmod(0o755)
    log = checkout / "log"
    log.write_text("")
    found = document(checkout)
    given = {"PATH": f"{programs}:/usr/bin:/bin", "LOG": str(log), "DIGEST": DIGEST, **more}
    secrets = {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": "pa$$", "KUBECONFIG_TEXT": "config"}
    ci = {
        "github": {"GITHUB_SHA": "1", "GITHUB_REF": "refs/heads/main", "GITHUB_REPOSITORY": "a/b"},
        "gitlab": {"CI_COMMIT_SHA": "1"},
    }[system(checkout)]
    env = {**(found.get("env") or found["variables"]), **secrets, **ci, **given}
    code = 0
    for command in commands(checkout)[job]:
        done = subprocess.run(["sh", "-c", command], cwd=checkout, env=env, check=False, timeout=60)
        code = code or done.returncode
        if code:
            break
    return code, log.read_text().splitlines()


def test_the_file_follows_its_schema(checkout: Path) -> None:
    name = {"github": "github-workflows", "gitlab": "gitlab-ci"}[system(checkout)]
    schema = json.loads((JSON_SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(document(checkout))


def test_stages_and_needs_exist(checkout: Path) -> None:
    found = document(checkout)
    jobs = found.get("jobs", found)
    for name in commands(checkout):
        needs = jobs[name].get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(jobs)
        assert jobs[name].get("stage") in (found.get("stages") or [None])


def test_a_workflow_has_only_the_rights_it_needs(checkout: Path) -> None:
    if system(checkout) != "github":
        pytest.skip("GitLab has no permissions")
    found = document(checkout)
    assert found["permissions"] == {"contents": "read"}
    for job in found["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            assert len(step.get("uses", "a@" + "0" * 40).partition("@")[2]) == 40
    zizmor = [Path(sys.executable).with_name("zizmor"), "--offline", "--quiet"]
    if not zizmor[0].exists():
        zizmor[0] = ROOT / ".venv/bin/zizmor"
    done = subprocess.run(
        [*map(str, zizmor), FILES["github"]],
        cwd=checkout, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_digest_goes_through_every_environment(checkout: Path) -> None:
    for job in ("validate", "rehearse", "push"):
        code, log = run(checkout, job)
        assert code == 0, (job, log)
        if job == "validate" and system(checkout) == "github":
            assert json.loads((checkout / "sent").read_text())["commit_sha"] == "1"
    assert (checkout / "password").read_text() == "pa$$"
    pinned = REFERENCE.replace(":main", f"@{DIGEST}")
    seen = []
    for environment in ("dev", "staging", "prod"):
        code, log = run(checkout, environment)
        assert code == 0, log
        calls = [" ".join(line.split()[:2]) for line in log if not line.startswith("python3")]
        order = ["helm upgrade", "kubectl apply", "kubectl get", "kubectl wait", "kubectl wait"]
        assert calls[:5] == order
        assert {"kubectl port-forward", "trtbuild deploy", "trtbuild bench"} == set(calls[5:])
        (bench,) = (line for line in log if line.startswith("trtbuild bench run"))
        assert "--slo ttft=2s,tpot=100ms --min-in-slo 0.95" in bench
        assert "workloadObservedGeneration}=7" in log[log.index(next(
            line for line in log if line.startswith("kubectl wait")))]  # fmt: skip
        rollout = (checkout / f"release/{environment}/rollout.yaml").read_text()
        seen.append(rollout.count(pinned))
        assert REFERENCE not in rollout
    assert seen == [seen[0]] * 3 and seen[0]
    assert pinned in (checkout / "release/values.yaml").read_text()
    assert (checkout / "kubeconfig").read_text() == "config"
    shipped = "deploy/chat/chart/values.schema.json"
    assert (checkout / shipped).read_bytes() == (
        checkout / "release/chart/values.schema.json"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "fails", "never"),
    [
        ("validate", "trtbuild validate", "trtbuild serve"),
        ("rehearse", "trtbuild deploy verify", "docker"),
        ("prod", "kubectl wait", "trtbuild bench"),
        ("prod", "trtbuild bench run", "trtbuild bench compare"),
    ],
)
def test_a_stage_that_fails_ends_the_job(checkout: Path, job: str, fails: str, never: str) -> None:
    assert run(checkout, "push")[0] == 0
    code, log = run(checkout, job, FAILS=fails)
    assert code != 0
    assert not any(line.startswith(never) for line in log)
    if job == "rehearse":
        assert log[-1] == "trtbuild stop --all"


def test_a_release_that_answers_otherwise_or_slower_fails_and_is_rolled_back(
    checkout: Path,
) -> None:
    folder = checkout / "deploy/chat"
    files = [folder / "baseline.json", folder / "recorded.jsonl"]
    for file in files:
        file.write_text("{}")
    golden = "trtbuild eval golden check deploy/chat/recorded.jsonl --target "
    compare = "trtbuild bench compare deploy/chat/baseline.json bench.json"
    assert run(checkout, "push")[0] == 0
    for fails, last in ((golden, golden), (compare, compare)):
        code, log = run(checkout, "prod", FAILS=fails)
        assert code != 0
        assert log[-1].startswith(last)
    (asked,) = (line for line in log if line.startswith(golden))
    assert asked.endswith("#llama --junit golden.xml")
    for file in files:
        file.unlink()
    code, log = run(checkout, "rollback")
    assert code == 0
    assert log[-1] == "helm rollback chat --namespace chat-prod --wait"


def test_a_release_of_another_commit_is_not_rolled_back(checkout: Path) -> None:
    assert run(checkout, "push")[0] == 0
    assert run(checkout, "prod")[0] == 0
    later = {"GITHUB_SHA" if system(checkout) == "github" else "CI_COMMIT_SHA": "2"}
    assert run(checkout, "prod", FAILS="helm upgrade", **later)[0] != 0
    code, log = run(checkout, "rollback", **later)
    assert (code, len(log)) == (0, 1)
    assert log[0].startswith("helm list")


def test_a_cluster_that_cannot_be_reached_fails_the_rollback(checkout: Path) -> None:
    code, log = run(checkout, "rollback", FAILS="helm list")
    assert code != 0
    assert not any(line.startswith("helm rollback") for line in log)


@pytest.mark.slow
def test_a_repository_that_is_broken_is_reported(checkout: Path) -> None:
    """With the real trtbuild: the lock names weights that are not there."""
    if system(checkout) != "github":
        pytest.skip("the script is the same")
    found = document(checkout)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    env = {**(found.get("env") or found["variables"]), "PATH": path, "HOME": str(checkout)}
    done = subprocess.run(
        ["sh", "deploy/chat/pipeline.sh", "validate"],
        cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert json.loads((checkout / "trtbuild.sarif").read_text())["runs"][0]["results"]
    assert "<testsuite" in (checkout / "trtbuild.xml").read_text()
    assert "is what would be written" in done.stdout


def test_a_key_of_the_gateway_is_passed_on(checkout: Path) -> None:
    assert run(checkout, "push")[0] == 0
    code, log = run(checkout, "dev", TRTBUILD_API_KEY="sk-1")
    assert code == 0
    (bench,) = (line for line in log if line.startswith("trtbuild bench run"))
    assert bench.endswith("--api-key-env TRTBUILD_API_KEY")
    assert not any("sk-1" in line for line in log)


def test_without_a_commit_nothing_is_deployed(checkout: Path) -> None:
    code, log = run(checkout, "prod", GITHUB_SHA="", CI_COMMIT_SHA="")
    assert code != 0
    assert not any(line.startswith("helm") for line in log)


def test_an_unknown_stage_is_refused(checkout: Path) -> None:
    command = ["sh", "deploy/chat/pipeline.sh", "delpoy"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode, "no stage 'delpoy'" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SETTINGS.replace("from: image", "from: claim"), "deploys its digest"),
        (SETTINGS.replace(":main", ""), "registry/name:tag"),
        (SETTINGS.replace(":main", f"@{DIGEST}"), "registry/name:tag"),
        (SETTINGS + "argo: {repository: 'https://git.example.org'}\n", "would undo it"),
        ("name: chat\n", "no version could be judged"),
    ],
)
def test_what_a_pipeline_needs_is_asked_for(tmp_path: Path, settings: str, said: str) -> None:
    file = tmp_path / "deploy.yaml"
    file.write_text(settings)
    with pytest.raises(TrtbuildError) as caught:
        render("gitlab", deployable(tmp_path), file)
    assert said in " ".join((caught.value.what, *caught.value.details))
    assert caught.value.exit_code == 4
