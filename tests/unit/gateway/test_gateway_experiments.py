"""Experiments: who gets which variant, and what the gateway records of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from support.access import USER, add_key, bearer
from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, run_as_served, serving, tokenizer
from support.scripted_http import STREAM, answer
from trtbuild.progress import SILENT
from trtbuild_experiments.options import ReportOptions
from trtbuild_experiments.reporting import report
from trtbuild_gateway.experiment_settings import ExperimentSettings, VariantSettings
from trtbuild_gateway.experiments.assignment import variant_of
from trtbuild_gateway.experiments.journal import _STEP, _exposure_in
from trtbuild_gateway.reloading import reload
from trtbuild_gateway.settings import settings_of

Test = Callable[[FakeTriton, Served], Awaitable[None]]
PATH = "/v1/chat/completions"
VARIANTS = {"control": {"model": "big"}, "treatment": {"model": "small"}}
SIZES: dict[str, Any] = {"name": "sizes", "unit": "header:X-User-Id", "variants": VARIANTS}
BUSY = [answer(b'{"error": "busy"}', 503)]
UNITS = [f"u{number}" for number in range(2000)]


def with_experiments(tmp_path: Path, *experiments: Any, **more: Any) -> Callable[[Test], None]:
    """Run a test with a gateway whose model ``big`` is in experiments."""
    scripts = {"big": words("B"), "small": words("s")} | more.pop("scripts", {})

    def run(test: Test) -> None:
        async def main() -> None:
            async with (
                fake_triton(**scripts) as triton,
                serving(triton.url, **settings(tmp_path, *experiments, **more)) as served,
            ):
                await test(triton, served)

        run_as_served(main())

    return run


def settings(tmp_path: Path, *experiments: Any, **more: Any) -> dict[str, Any]:
    own = {"tokenizer": str(tokenizer()), "context_length": 64}
    models = dict.fromkeys(("big", "small", "third"), own)
    records = {"directory": str(tmp_path / "exposures"), "file_bytes": 4096}
    return {"models": models, "experiments": experiments, "exposures": records} | more


async def ask(served: Served, unit: str = "", headers: Any = (), **body: Any) -> Any:
    """Ask the model of the experiment."""
    sent = dict(headers) | ({"x-user-id": unit} if unit else {})
    body = {"model": "big", "messages": [USER], "max_tokens": 4} | body
    return await served.client.post(body.pop("path", PATH), json=body, headers=sent)


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    files = sorted((tmp_path / "exposures").glob("*.jsonl"), key=lambda path: path.name)
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


async def recorded(tmp_path: Path, count: int) -> list[dict[str, Any]]:
    """Wait until so many records are on the disk."""
    async with asyncio.timeout(180):
        while len(found := rows(tmp_path)) < count:
            await asyncio.sleep(0.02)
    return found


def user_of(variant: str, name: str = "sizes", **more: Any) -> str:
    """A user who gets a variant."""
    one = ExperimentSettings(
        name, "user", {key: VariantSettings("m") for key in ("control", "treatment")}, **more
    )
    return next(unit for unit in UNITS if variant_of(one, unit) == variant)


def test_a_users_variant_is_the_same_on_every_replica_and_after_a_restart(tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {}

    async def main() -> None:
        async with fake_triton(big=words("B"), small=words("s")) as triton:
            for _ in range(2):
                more = settings(tmp_path, SIZES)
                async with serving(triton.url, **more) as a, serving(triton.url, **more) as b:
                    for number, served in enumerate((a, b) * 10):
                        unit = f"u{number // 2}"
                        answered = await ask(served, unit)
                        seen.setdefault(unit, set()).add(answered.headers["x-trtbuild-variant"])
                        model = VARIANTS[answered.headers["x-trtbuild-variant"][6:]]["model"]
                        assert answered.json()["model"] == model

    run_as_served(main())
    assert all(len(variants) == 1 for variants in seen.values())
    assert {variant for variants in seen.values() for variant in variants} == {
        "sizes=control",
        "sizes=treatment",
    }
    found = rows(tmp_path)
    assert len(found) == 40
    assert len(list((tmp_path / "exposures").iterdir())) >= 4, "a file for each process"
    assert not any("u1" in str(row["unit"]) for row in found)


def test_the_report_reads_what_the_gateway_records(tmp_path: Path) -> None:
    """Exposures, and feedback by the ids of answers, also of another process."""

    async def main() -> None:
        async with fake_triton(big=words("B"), small=words("s", "t")) as triton:
            more = settings(tmp_path, SIZES)
            async with serving(triton.url, **more) as served:
                answered = [await ask(served, f"u{number}", stream=True) for number in range(50)]
                await recorded(tmp_path, 50)  # and the first file is full
                answered += [await ask(served, f"u{n}", stream=True) for n in range(50, 100)]
                first = [one.headers["x-request-id"] for one in answered]
                body = {"id": f"chatcmpl-{first[0]}", "name": "click", "value": True}
                given = await served.post("/v1/feedback", **body)
                assert given.json() == {"object": "feedback", **body, "id": first[0]}
            async with serving(triton.url, **more) as served:
                for id in first[1:]:
                    given = await served.post("/v1/feedback", id=id, name="click", value=1)
                    assert given.status_code == 200, given.text
                unknown = await served.post("/v1/feedback", id="other", name="click", value=1)
                assert (unknown.status_code, unknown.json()["error"]["code"]) == (
                    404,
                    "exposure_not_found",
                )

    run_as_served(main())
    metrics = ("latency_ms", "ttft_ms", "completion_tokens", "error", "click/requests")
    options = ReportOptions(paths=(str(tmp_path / "exposures"),), metric=metrics)
    found = report(options, SILENT)
    assert found.experiment == "sizes"
    assert sum(found.users.values()) == 100
    by_metric = {one.metric: one for one in found.comparisons}
    assert (by_metric["completion_tokens"].control, by_metric["completion_tokens"].treatment) == (
        1,
        2,
    )
    assert by_metric["click/requests"].control == 1
    assert found.left_out == {}
    assert len(list((tmp_path / "exposures").iterdir())) > 2, "a full file is followed by another"


def test_a_fallback_is_recorded_for_the_assigned_variant(tmp_path: Path) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answered = await ask(served, user_of("treatment"))
        assert answered.headers["x-trtbuild-variant"] == "sizes=treatment"
        assert answered.json()["model"] == "third"
        (row,) = await recorded(tmp_path, 1)
        assert (row["variant"], row["model"], row["fell_back"]) == ("treatment", "third", True)
        assert row["error"] is False

    own = {"tokenizer": str(tokenizer()), "context_length": 64}
    models = {"big": own, "small": {**own, "fallbacks": ["third"]}, "third": own}
    scripts = {"small": BUSY, "third": words("t")}
    with_experiments(tmp_path, SIZES, scripts=scripts, models=models)(test)


def test_errors_and_clients_that_leave_are_recorded(tmp_path: Path) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        assert (await ask(served, user_of("treatment"), stream=True)).status_code == 200
        refused = await ask(served, user_of("control"), temperature="hot")
        assert refused.headers["x-trtbuild-variant"] == "sizes=control"
        assert (await ask(served, model=["big"])).status_code == 400
        triton.scripts["big"] = [STREAM, said("a"), "hold"]
        body = {"model": "big", "prompt": "x", "stream": True}
        user = {"x-user-id": user_of("control")}
        async with served.client.stream("POST", "/v1/completions", json=body, headers=user) as left:
            assert await anext(left.aiter_lines())
        *_, last = await recorded(tmp_path, 3)
        assert (last["left"], last["error"], "latency_ms" in last) == (True, False, False)
        found = {row["variant"]: row for row in rows(tmp_path)[:2]}
        assert (found["treatment"]["error"], found["treatment"]["code"]) == (True, "upstream_error")
        assert found["control"]["code"] == "invalid_type"
        page = (await served.client.get("/metrics")).text
        assert (
            'experiment_requests_total{error="upstream_error",experiment="sizes",'
            'variant="treatment"} 1.0'
        ) in page

    with_experiments(tmp_path, SIZES, scripts={"small": [STREAM, said("a"), "reset"]})(test)


def test_who_is_unknown_gets_what_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        for _ in range(5):
            answered = await ask(served)
            assert answered.json()["model"] == "big"
            assert "x-trtbuild-variant" not in answered.headers
        assert caplog.text.count("take no part in the experiment 'sizes'") == 1
        assert "name no header:X-User-Id" in caplog.text
        page = (await served.client.get("/metrics")).text
        assert 'left_out_total{experiment="sizes",reason="no_unit"} 5.0' in page
        other = await ask(served, user_of("treatment"), model="small")
        assert "x-trtbuild-variant" not in other.headers, "only the experiment's model is in it"

    with_experiments(tmp_path, SIZES)(test)
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, {"user": user_of("treatment")}),
        (PATH, {"safety_identifier": user_of("treatment")}),
        ("/v1/messages", {"metadata": {"user_id": user_of("treatment")}}),
        ("/v1/responses", {"input": "Hello", "user": user_of("treatment")}),
        ("/v1/completions", {"prompt": "Hello", "user": user_of("treatment")}),
    ],
)
def test_every_api_names_its_user(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        sent = {"model": "big", "max_tokens": 20} | body
        if path in (PATH, "/v1/messages"):
            sent["messages"] = [USER]
        if path == "/v1/responses":
            sent["max_output_tokens"] = sent.pop("max_tokens")
        answered = await served.post(path, **sent)
        assert (answered.status_code, answered.json()["model"]) == (200, "small"), answered.text

    with_experiments(tmp_path, SIZES | {"unit": "user"})(test)


def test_an_unknown_model_ends_the_experiment_for_everybody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        for variant in ("control", "treatment"):
            answered = await ask(served, user_of(variant))
            assert answered.json()["model"] == "big"
        assert "the model 'no-such' does not exist" in caplog.text

    variants = {"control": {"model": "big"}, "treatment": {"model": "no-such"}}
    with_experiments(tmp_path, SIZES | {"variants": variants})(test)


def test_a_key_that_may_not_use_every_variant_takes_no_part(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    all_models, one_model = add_key(keys, "all"), add_key(keys, "one", models=("big",))

    async def test(triton: FakeTriton, served: Served) -> None:
        for key, exposed in ((all_models, True), (one_model, False)):
            answered = await ask(served, headers=bearer(key))
            assert answered.status_code == 200
            assert ("x-trtbuild-variant" in answered.headers) == exposed
        (row,) = await recorded(tmp_path, 1)
        assert row["unit"]

    with_experiments(tmp_path, SIZES | {"unit": "api_key"}, access={"keys": str(keys)})(test)


def test_a_key_learns_of_no_variant_with_a_model_that_it_may_not_use(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    narrow = add_key(keys, "one", models=("big",))

    async def test(_: FakeTriton, served: Served) -> None:
        for chosen in ("sizes=treatment", "sizes=no-such"):  # which of them exists is not told
            headers = bearer(narrow) | {"x-trtbuild-variant": chosen}
            refused = await ask(served, "u1", headers=headers)
            assert refused.status_code == 400
            assert refused.json()["error"]["message"].endswith("; use one of sizes=control")

    with_experiments(tmp_path, SIZES | {"override": "try"}, access={"keys": str(keys)})(test)


def test_the_control_port_lists_experiments_and_what_was_counted(tmp_path: Path) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        unit = user_of("treatment")
        for stream in (False, True):
            await ask(served, unit, stream=stream)
        await ask(served)
        triton.scripts["small"] = BUSY
        await ask(served, unit)
        found = (await served.control.get("/v1/experiment/list")).json()
        (one,) = found["data"]
        assert (one["name"], one["model"], one["unit"]) == ("sizes", "big", "header:X-User-Id")
        assert one["left_out"] == {"no_unit": 1} and found["exposures"]["lost"] == 0
        control, treatment = one["variants"]
        assert (control["requests"], control["first_token_seconds"]) == (0, None)
        assert (treatment["requests"], treatment["errors"], treatment["share"]) == (3, 1, 0.5)
        assert treatment["first_token_seconds"] > 0

    with_experiments(tmp_path, SIZES)(test)


@pytest.mark.parametrize("mode", ["refuse", "try", "assign"])
def test_a_request_chooses_its_variant_only_where_that_is_allowed(
    tmp_path: Path, mode: str
) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        chosen = {"x-trtbuild-variant": "sizes=treatment"}
        answered = await ask(served, user_of("control"), headers=chosen)
        if mode == "refuse":
            assert answered.status_code == 403
            assert answered.json()["error"]["code"] == "variant_not_allowed"
        else:
            assert answered.json()["model"] == "small"
            (row,) = await recorded(tmp_path, 1)
            assert (row["variant"], row.get("override")) == ("treatment", mode == "try" or None)
        wrong = await ask(served, "u1", headers={"x-trtbuild-variant": "sizes=other"})
        assert wrong.status_code == 400
        assert "sizes=control, sizes=treatment" in wrong.text
        nobody = await ask(served, headers=chosen)
        assert nobody.status_code == (403 if mode == "refuse" else 200)

    with_experiments(tmp_path, SIZES | {"override": mode})(test)


def test_experiments_of_a_layer_share_no_user(tmp_path: Path) -> None:
    first = SIZES | {"layer": "l", "users": [0, 50]}
    second = SIZES | {
        "name": "second",
        "layer": "l",
        "users": [50, 100],
        "variants": {"a": {"model": "big"}, "b": {"model": "third"}},
    }

    async def test(triton: FakeTriton, served: Served) -> None:
        for unit in UNITS[:20]:
            await ask(served, unit)
        found = await recorded(tmp_path, 20)
        units = {
            name: {r["unit"] for r in found if r["experiment"] == name}
            for name in ("sizes", "second")
        }
        assert all(units.values())
        assert not units["sizes"] & units["second"]

    with_experiments(tmp_path, first, second, scripts={"third": words("t")})(test)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "click", "value": 1}, "'id' is missing"),
        ({"id": "a b", "name": "click", "value": 1}, "'id' must be"),
        ({"id": "a", "name": "", "value": 1}, "'name' must be"),
        ({"id": "a", "name": "latency_ms", "value": 1}, "none of"),
        ({"id": "a", "name": "click", "value": "yes"}, "'value' must be"),
        ({"id": "a", "name": "click", "value": 1e300}, "'value' must be"),
        ({"id": "a", "name": "click", "value": 10**400}, "'value' must be"),
        ({"id": "a", "name": "click", "value": 1, "unit": "u"}, "unknown parameter 'unit'"),
        ({"id": "a", "name": "click", "value": 1}, "took part in an experiment"),
    ],
)
def test_wrong_feedback_is_refused(tmp_path: Path, body: dict[str, Any], says: str) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answered = await served.post("/v1/feedback", **body)
        assert answered.status_code in (400, 404)
        assert says in answered.json()["error"]["message"]

    with_experiments(tmp_path, SIZES)(test)
    assert rows(tmp_path) == []


def test_a_search_for_an_id_reads_in_steps(tmp_path: Path) -> None:
    """Also an id at the edge of two steps is found, and a file may become shorter meanwhile."""
    record = b'{"variant":"a","id":"%d"}\n'
    file = tmp_path / "big.jsonl"
    others = b'x\n[{"id":"3"}]\n"id":"3"\n{"id":"3","value":1}\n'
    begin = others + b"x\n" * ((_STEP - len(others)) // 2 - 50)
    file.write_bytes(begin + b"".join(map(record.__mod__, range(9))) + b"x\n" * _STEP)
    for id in range(9):
        with file.open("rb") as stream:
            wanted = [b'"id":"none"', b'"id":"%d"' % id]
            assert _exposure_in(stream, wanted) == {"variant": "a", "id": str(id)}
            assert stream.tell() <= 2 * _STEP
    with file.open("rb") as stream:
        stream.read(_STEP)
        os.truncate(file, 10)
        assert _exposure_in(stream, [b'"id":"0"']) is None


def test_a_reload_changes_weights_and_keeps_the_files(tmp_path: Path) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        unit = user_of("control")
        assert (await ask(served, unit)).headers["x-trtbuild-variant"] == "sizes=control"
        weights = {"control": {"model": "big", "weight": 0}, "treatment": {"model": "small"}}
        grown = settings(tmp_path, SIZES | {"variants": weights}, url=triton.url)
        assert await reload(served.gateway, lambda: settings_of(grown))
        assert (await ask(served, unit)).headers["x-trtbuild-variant"] == "sizes=treatment"
        wrong = settings(tmp_path, SIZES, SIZES, url=triton.url)
        assert not await reload(served.gateway, lambda: settings_of(wrong))
        assert (await ask(served, unit)).headers["x-trtbuild-variant"] == "sizes=treatment"
        ended = settings(tmp_path, url=triton.url)
        assert await reload(served.gateway, lambda: settings_of(ended))
        assert "x-trtbuild-variant" not in (await ask(served, unit)).headers
        found = await recorded(tmp_path, 3)
        late = await served.post("/v1/feedback", id=found[0]["id"], name="click", value=1)
        assert late.status_code == 200, "feedback is taken after the end"

    with_experiments(tmp_path, SIZES)(test)
    assert len(list((tmp_path / "exposures").iterdir())) == 1


def test_records_wait_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from trtbuild_gateway.experiments import journal

    write, full = journal.os.write, True

    def failing(fd: int, data: Any) -> int:
        if not full:
            return write(fd, data)
        write(fd, data[:10])
        raise OSError(28, "No space left on device")

    async def test(triton: FakeTriton, served: Served) -> None:
        nonlocal full
        monkeypatch.setattr(journal, "_AGAIN_SECONDS", 0.02)
        monkeypatch.setattr(journal.os, "write", failing)
        assert (await ask(served, "u1")).status_code == 200
        async with asyncio.timeout(180):
            while "No space left on device; 1 wait" not in caplog.text:
                await asyncio.sleep(0.01)
        page = (await served.client.get("/metrics")).text
        assert "trtbuild_gateway_exposures_waiting 1.0" in page
        full = False
        (row,) = await recorded(tmp_path, 1)
        assert row["experiment"] == "sizes"

    with_experiments(tmp_path, SIZES)(test)


def test_without_experiments_feedback_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake_triton(big=words("B")) as triton, serving(triton.url) as served:
            answered = await served.post("/v1/feedback", id="a", name="click", value=1)
            listed = await served.control.get("/v1/experiment/list")
            for one in (answered, listed):
                assert one.json()["error"]["code"] == "experiments_off"
            assert "exposures_waiting" not in (await served.client.get("/metrics")).text

    run_as_served(main())
