"""A server's whole life, with a program that behaves as a server may."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.models import write_python_model, write_vllm_model
from support.programs import argv_of, write_docker, write_tritonserver
from support.waiting import runs, wait_for
from trtbuild import process, server
from trtbuild.errors import BuildError, RepositoryError, ServerError, UsageError
from trtbuild.pipeline import serve
from trtbuild.pipeline.ports import choose_ports
from trtbuild.server import LaunchOptions, Ports, ServerHandle, handle, shm


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    # Not the kernel's: what no process has mapped there is swept by whoever starts a server.
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("TRTBUILD_TEST_SHM", str(tmp_path / "shm"))
    monkeypatch.setattr(shm, "ROOT", tmp_path / "shm")
    yield folder
    for one in server.servers():
        server.stop(one, deadline=0)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return write_python_model(tmp_path / "models", "echo")


def launch(repo: Path, **options: object) -> ServerHandle:
    ports = Ports(*process.free_ports(3))
    chosen = LaunchOptions(ports=ports, exit_seconds=60, **options)  # type: ignore[arg-type]
    return server.launch(server.read_contents(repo), "local", chosen)


def left_of(server_id: str) -> list[str]:
    return [path.name.split("_")[2] for path in shm.ROOT.glob(f"trtbuild_{server_id}_*")]


def test_a_server_is_recorded_watched_and_stopped(programs: Path, repo: Path) -> None:
    write_tritonserver(programs, says=["hello"], shm=["region"])
    found = launch(repo)
    wait_for(lambda: server.says_ready(found))
    assert f"--http-port={found.http_port}" in argv_of(programs)
    assert server.find() == server.watch(found)
    assert left_of(found.id) == ["region"]
    assert found.health == "starting"
    assert server.mark_ready(found).health == "ready"
    stopped = server.stop(found)
    assert (stopped.in_time, stopped.swept) == (
        True,
        (str(shm.ROOT / f"trtbuild_{found.id}_region"),),
    )
    assert server.servers() == ()
    assert left_of(found.id) == []
    assert "hello" in server.latest_log(found.id).read_text()


def test_a_server_that_cannot_be_guarded_is_stopped(
    programs: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    write_tritonserver(programs)
    found = launch(repo)
    monkeypatch.setattr(serve, "Guard", refuse)
    with pytest.raises(BlockingIOError), serve.stopped_on_failure(found):
        pass
    assert not process.is_alive(found.pid, found.started)


def _interrupted(_: ServerHandle) -> None:
    signal.raise_signal(signal.SIGINT)


def _full(_: ServerHandle) -> None:
    raise BuildError("the disk is full")


@pytest.mark.parametrize(
    ("save", "error"), [(_full, BuildError), (_interrupted, KeyboardInterrupt)]
)
def test_a_server_that_cannot_be_recorded_does_not_run(
    programs: Path,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    save: Callable[[ServerHandle], None],
    error: type[BaseException],
) -> None:
    write_tritonserver(programs)
    started: list[ServerHandle] = []
    monkeypatch.setattr(handle, "save", lambda found: (started.append(found), save(found)))
    with pytest.raises(error):
        launch(repo)
    assert not process.family(started[0].pid, started[0].started, started[0].id)
    assert server.servers() == ()


def test_a_server_of_another_user_is_not_stopped(
    programs: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    write_tritonserver(programs)
    found = launch(repo)
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        with pytest.raises(ServerError, match="another user"):
            server.stop(found)
    assert server.servers() == (found,)


@pytest.mark.parametrize(
    "changed", [{"pid": "1"}, {"started": None}, {"host": 5}, {"repo": None}, {"models": 5}]
)
def test_a_record_that_somebody_changed_is_skipped(
    programs: Path, repo: Path, changed: dict[str, object]
) -> None:
    write_tritonserver(programs)
    found = launch(repo)
    record = handle.home() / f"{found.id}.json"
    content = record.read_text()
    record.write_text(json.dumps({**json.loads(content), **changed}))
    assert server.servers() == ()
    record.write_text(content)
    assert server.servers() == (found,)


def test_a_deaf_server_and_its_children_are_killed(programs: Path, repo: Path) -> None:
    write_tritonserver(programs, deaf=True, child=True, detached_child=True)
    found = launch(repo)
    wait_for(lambda: server.says_ready(found))
    members = process.family(found.pid, found.started, found.id)
    assert len(members) == 3
    assert not server.stop(found, deadline=0.3).in_time
    assert not any(map(runs, members))


def test_a_killed_server_is_dead_and_swept_by_the_next(programs: Path, repo: Path) -> None:
    write_tritonserver(programs, child=True, shm=["region"])
    found = launch(repo)
    wait_for(lambda: server.says_ready(found))
    os.kill(found.pid, signal.SIGKILL)
    wait_for(lambda: found.health == "dead")
    with pytest.raises(ServerError, match="ended while it was loading"):
        server.watch(found)
    assert [one.health for one in server.servers()] == ["dead"]
    second = launch(repo)
    assert [one.id for one in server.servers()] == [second.id]
    assert left_of(found.id) == []
    assert process.family(found.pid, found.started, found.id) == []


def test_shared_memory_without_a_record_is_swept(programs: Path) -> None:
    orphan = shm.ROOT / "trtbuild_0rphan_region"
    orphan.write_bytes(b"x")
    server.sweep_dead()
    assert not orphan.exists()


def test_a_start_that_dies_quotes_the_server(programs: Path, repo: Path) -> None:
    line = (
        "E1121 03:57:14.6 6045 model_lifecycle.cc:642] \"failed to load 'echo' version 1: "
        'Internal: ValueError: the table is missing\\n\\nAt:\\n  model.py(4): initialize\\n"'
    )
    write_tritonserver(programs, says=[line], exits=1)
    ports = Ports(*process.free_ports(3))
    serving = serve.prepare(repo, mode="local", options=LaunchOptions(ports=ports))
    seen: list[str] = []
    with pytest.raises(ServerError, match="ended while it was loading") as error:
        serve.start(serving, timeout=60, on_line=seen.append)
    assert error.value.details == ("echo: ValueError: the table is missing",)
    assert error.value.exit_code == 7
    assert seen == [line]
    assert server.servers() == ()


def test_a_start_that_takes_too_long_is_ended(programs: Path, repo: Path) -> None:
    write_tritonserver(programs, never_ready=True, child=True, says=["still thinking"])
    for seconds in (1, 10, 60):  # a busy machine may need more than one for the first line
        ports = Ports(*process.free_ports(3))
        serving = serve.prepare(repo, mode="local", options=LaunchOptions(ports=ports))
        with pytest.raises(ServerError, match=f"not ready within {seconds} s") as error:
            serve.start(serving, timeout=seconds)
        if error.value.details:
            break
    assert error.value.details[-1] == "still thinking"
    assert "--timeout" in error.value.fix
    assert server.servers() == ()
    mark = Path(error.value.where).parent.name
    assert process.family(0, 0.0, mark) == []


def test_ctrl_c_while_loading_leaves_nothing(programs: Path, repo: Path) -> None:
    write_tritonserver(programs, never_ready=True, shm=["region"], says=["loading"])
    ports = Ports(*process.free_ports(3))
    serving = serve.prepare(repo, mode="local", options=LaunchOptions(ports=ports))

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve.start(serving, timeout=60, on_line=interrupt)
    assert server.servers() == ()
    assert not process.port_owner(ports.http)


def test_a_taken_port_names_who_has_it(programs: Path, repo: Path) -> None:
    write_tritonserver(programs)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = LaunchOptions(ports=Ports(port, *process.free_ports(2)))
        with pytest.raises(ServerError, match=f"HTTP port {port} is taken by .*{os.getpid()}"):
            server.launch(server.read_contents(repo), "local", options)
    assert server.servers() == ()
    assert not (programs / "argv.json").exists()


def test_an_invalid_repository_is_not_started(programs: Path, repo: Path) -> None:
    write_tritonserver(programs)
    (repo / "echo" / "config.pbtxt").write_text("nmae: 'echo'")
    with pytest.raises(RepositoryError, match="would not load") as error:
        serve.prepare(repo, options=LaunchOptions())
    assert any("config.pbtxt:1" in line for line in error.value.details)
    assert serve.prepare(repo, options=LaunchOptions(), validate=False).choice.mode == "local"


def test_a_view_goes_with_its_server(programs: Path, tmp_path: Path) -> None:
    write_tritonserver(programs)
    repo = write_vllm_model(tmp_path / "llm", "m", "/models/m/1/weights")
    found = launch(repo)
    view = handle.folder(found.id) / "view"
    assert (view / "m" / "1" / "model.json").is_file()
    server.stop(found)
    assert not view.exists()
    assert (repo / "m" / "1" / "model.json").is_file()


def test_a_container_is_stopped_by_its_engine(programs: Path, repo: Path, tmp_path: Path) -> None:
    write_docker(programs)
    options = LaunchOptions(ports=Ports(*process.free_ports(3)), image="i", exit_seconds=1)
    found = server.launch(server.read_contents(repo), "docker", options)
    wait_for(lambda: found.health == "dead")
    server.stop(found, deadline=1)
    calls = (programs / "calls.jsonl").read_text()
    assert f'"run", "--rm", "--name", "trtbuild-{found.id}"' in calls
    assert server.servers() == ()


def test_logs_of_the_gone_are_kept_but_not_for_ever(state_dir: Path) -> None:
    for index in range(25):
        log = state_dir / "servers" / f"{index:06x}" / "server.log"
        log.parent.mkdir(parents=True)
        log.write_text("x")
        os.utime(log, (index, index))
    handle.prune_logs()
    kept = sorted(path.name for path in (state_dir / "servers").iterdir())
    assert kept == [f"{index:06x}" for index in range(5, 25)]


def test_a_server_is_found_by_the_beginning_of_its_id(programs: Path, repo: Path) -> None:
    write_tritonserver(programs)
    with pytest.raises(UsageError, match="no server is running"):
        server.find()
    one, two = launch(repo), launch(repo)
    assert server.find(one.id[:5]) == one
    with pytest.raises(UsageError, match="several servers") as error:
        server.find()
    assert one.id in error.value.fix
    assert two.id in error.value.fix
    with pytest.raises(UsageError, match="no server 'zzz'"):
        server.find("zzz")


def test_a_damaged_record_hides_nothing_else(programs: Path, repo: Path) -> None:
    write_tritonserver(programs)
    found = launch(repo)
    (handle.home() / "broken.json").write_text("{")
    assert server.servers() == (found,)


@pytest.mark.parametrize(
    ("port", "http", "expected"),
    [("", None, (8000, 8001, 8002)), ("9000", None, (9000, 9001, 9002)), ("", 7, (7, 8001, 8002))],
)
def test_ports_as_asked(port: str, http: int | None, expected: tuple[int, int, int]) -> None:
    found = choose_ports(port, host="127.0.0.1", http=http, grpc=None, metrics=None)
    assert (found.http, found.grpc, found.metrics) == expected


def test_free_ports_are_taken_when_asked() -> None:
    found = choose_ports("auto", host="127.0.0.1", http=None, grpc=None, metrics=None)
    assert len({found.http, found.grpc, found.metrics}) == 3
    mixed = choose_ports("", host="127.0.0.1", http=0, grpc=None, metrics=None)
    assert mixed.http not in (0, 8000)
    assert mixed.grpc == 8001


@pytest.mark.parametrize("port", ["http", "0", "-1", "70000", "65535", "9" * 5000])
def test_what_is_no_port(port: str) -> None:
    with pytest.raises(UsageError, match="is not a port"):
        choose_ports(port, host="127.0.0.1", http=None, grpc=None, metrics=None)


@pytest.mark.parametrize("host", ["a\udcff", "a\0b", "\u00e9" * 80, "192.0.2.1"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        choose_ports("", host=host)


def test_two_services_cannot_share_a_port() -> None:
    with pytest.raises(UsageError, match="cannot share"):
        choose_ports("", host="127.0.0.1", http=8001, grpc=None, metrics=None)
