"""The inputs and outputs of an OpenVINO model.xml, read as text.

The names are those that OpenVINO 2026.4 gives a read model: of several names of a tensor the first
by the alphabet counts (``get_any_name``); a file of version 10 is known by the names of its layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

_VERSIONS = range(10, 12)
_SPLIT = "\x00"


@dataclass(frozen=True, slots=True)
class OpenvinoTensor:
    """An input or output.

    Attributes:
        name: What OpenVINO calls it, empty if the file gives it no name.
        dims: Its sizes, -1 for what varies; None when their number is open or not said.
        limits: Least and greatest size of those that vary between two, by their index.
        batch: Whether its layout has a batch.
        known: Whether its name can be told from the file.
    """

    name: str
    dims: tuple[int, ...] | None
    limits: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    batch: bool = False
    known: bool = True


@dataclass(frozen=True, slots=True)
class OpenvinoFile:
    """What a file says, or why it says nothing."""

    problem: str = ""
    inputs: tuple[OpenvinoTensor, ...] = ()
    outputs: tuple[OpenvinoTensor, ...] = ()


def read_openvino(content: bytes) -> OpenvinoFile:
    """What a model.xml says; never raises."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = reader.entity
    try:
        parser.Parse(content, True)
        if reader.version not in _VERSIONS:
            return OpenvinoFile("it is not an OpenVINO model: no <net> of version 10 or 11")
        return OpenvinoFile("", *reader.tensors())
    except (expat.ExpatError, ValueError) as error:
        return OpenvinoFile(f"it is not an OpenVINO model: {error}")


@dataclass
class _Port:
    """A port of a layer, with the sizes that it says."""

    names: str = ""
    dims: list[int] = field(default_factory=list)
    layout: str = ""


@dataclass
class _Layer:
    """A layer of the model itself, not of a model in one of its layers."""

    attributes: dict[str, str]
    shape: str | None = None
    outputs: dict[str, _Port] = field(default_factory=dict)


class _Reader:
    """What expat calls."""

    def __init__(self) -> None:
        self.version = 0
        self._path: list[str] = []
        self._layers: dict[str, _Layer] = {}
        self._edges: dict[str, tuple[str, str]] = {}
        self._layer: _Layer | None = None
        self._port: _Port | None = None
        self._text = ""

    def entity(self, *_: Any) -> None:
        raise ValueError("it declares entities, which no OpenVINO model does")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self._text = ""
        inside = self._path[:3] == ["net", "layers", "layer"]
        if self._path == ["net"]:
            self.version = int(attributes.get("version", "0") or 0)
        elif self._path == ["net", "layers", "layer"]:
            self._layer = self._layers[attributes.get("id", "")] = _Layer(attributes)
        elif self._path == ["net", "edges", "edge"]:
            source = attributes.get("from-layer", ""), attributes.get("from-port", "")
            self._edges[attributes.get("to-layer", "")] = source
        elif inside and self._layer is not None:
            self._inside(self._path[3:], attributes, self._layer)

    def _inside(self, path: list[str], attributes: dict[str, str], layer: _Layer) -> None:
        if path == ["data"]:
            layer.shape = attributes.get("shape")
        elif path == ["output", "port"]:
            self._port = _Port(attributes.get("names", ""))
            layer.outputs[attributes.get("id", "")] = self._port
        elif path[-1] == "attribute" and attributes.get("name") == "layout" and self._port:
            self._port.layout = attributes.get("layout", "")

    def text(self, data: str) -> None:
        if self._path[-1:] == ["dim"] and len(self._text) < 32:
            self._text += data

    def end(self, tag: str) -> None:
        if tag == "dim" and self._port is not None and len(self._path) == 6:
            self._port.dims.append(int(self._text))
        elif tag == "port" and len(self._path) == 5:
            self._port = None
        self._path.pop()

    def tensors(self) -> tuple[tuple[OpenvinoTensor, ...], tuple[OpenvinoTensor, ...]]:
        """The inputs and outputs, in the file's order."""
        kinds: dict[str, list[OpenvinoTensor]] = {"Parameter": [], "Result": []}
        for key, layer in self._layers.items():
            kind = layer.attributes.get("type", "")
            if kind == "Parameter":
                kinds[kind].append(self._input(layer))
            elif kind == "Result":
                kinds[kind].append(self._output(key, layer))
        return tuple(kinds["Parameter"]), tuple(kinds["Result"])

    def _name(self, names: str, layer: _Layer | None) -> str:
        several = names.replace("\\,", _SPLIT).split(",")
        given = [name.replace(_SPLIT, ",") for name in several if name]
        if self.version < _VERSIONS[-1] and layer is not None:
            given.append(layer.attributes.get("name", ""))
        return min(given, default="", key=str.encode)

    def _input(self, layer: _Layer) -> OpenvinoTensor:
        port = next(iter(layer.outputs.values()), _Port())
        dims, limits = _shape(layer.shape)
        return OpenvinoTensor(self._name(port.names, layer), dims, limits, "N" in port.layout)

    def _output(self, key: str, layer: _Layer) -> OpenvinoTensor:
        source, number = self._edges.get(key, ("", ""))
        producer = self._layers.get(source)
        port = producer.outputs.get(number, _Port()) if producer else _Port()
        names = layer.attributes.get("output_names", "") or port.names
        if self.version < _VERSIONS[-1] and producer and len(producer.outputs) > 1:
            return OpenvinoTensor("", None, known=False)
        dims = tuple(port.dims) or None  # a scalar says no more than an open number of dimensions
        if producer is not None and producer.attributes.get("type") == "Parameter":
            dims = _shape(producer.shape)[0]
        return OpenvinoTensor(self._name(names, producer), dims, batch="N" in port.layout)


def _shape(text: str | None) -> tuple[tuple[int, ...] | None, dict[int, tuple[int, int]]]:
    """The sizes of ``1,?,1..10``, and the limits of those that have some."""
    if text is None or "..." in text:
        return None, {}
    sizes, limits = [], {}
    for index, size in enumerate(text.split(",") if text.strip() else ()):
        low, dots, high = size.strip().partition("..")
        sizes.append(-1 if dots or low in ("?", "-1") else int(low))
        if dots and high:
            limits[index] = int(low or 0), int(high)
    return tuple(sizes), limits
