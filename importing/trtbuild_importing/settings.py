"""``model-config.yaml``: what becomes of each key in config.pbtxt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_importing.manifest import Manifest

_WITHOUT = {
    "maxWorkers": "Triton does not scale instances: run more servers (trtbuild deploy)",
    "responseTimeout": "clients and the gateway have timeouts; Triton does not restart an instance",
    "startupTimeout": "serve waits with --timeout; probes of trtbuild deploy have their own",
    "maxRetryTimeoutInSec": "Triton ends the server when an instance dies; its manager restarts it",
    "maxSequenceJobQueueSize": "sequence batching is not imported",
    "parallelType": "one process computes each instance",
    "parallelLevel": "one process computes each instance",
    "torchrun": "one process computes each instance",
    "deepspeed": "one process computes each instance",
    "useJobTicket": "dynamic batching has no tickets",
    "useVenv": "set EXECUTION_ENV_PATH to a packed environment",
    "asyncCommunication": "requests of a batch are answered together",
    "continuousBatching": "use an engine with its own: vllm or TensorRT-LLM",
    "sequenceBatching": "sequence batching is not imported",
    "micro_batching": "the stages of a handler run one after another",
    "pt2": "the handler of an archive runs without torch.compile",
}
"""Keys of TorchServe 0.12 without a counterpart, and what to do instead (docs/model_configuration
of github.com/pytorch/serve)."""
_DELAY_MS = 100  # TorchServe's default of maxBatchDelay


@dataclass(frozen=True, slots=True)
class Carried:
    """A setting and what it became."""

    torchserve: str
    triton: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Something without a counterpart, and what to do instead."""

    what: str
    instead: str


@dataclass(frozen=True, slots=True)
class Scheduling:
    """The part of config.pbtxt that says how requests are collected and computed.

    ``fields`` are those of ModelConfig; ``batch`` is its ``max_batch_size``.
    """

    batch: int
    fields: Mapping[str, Any]
    carried: tuple[Carried, ...]
    lost: tuple[Lost, ...]


def scheduling(manifest: Manifest) -> Scheduling:
    """Return what the archive's settings mean for Triton.

    Raises:
        UsageError: A value that cannot be.
    """
    given = manifest.settings
    batch = _number(given, "batchSize", 1)
    delay = _number(given, "maxBatchDelay", _DELAY_MS)
    workers = _number(given, "minWorkers", 1)
    queue = _number(given, "jobQueueSize", 0)
    kind = _kind(given)
    groups: list[dict[str, Any]] = [{"count": workers, "kind": kind}]
    carried = [
        Carried(f"batchSize: {batch}", f"max_batch_size: {batch}"),
        Carried(f"minWorkers: {workers}", f"instance_group count: {workers}"),
    ]
    devices = given.get("deviceIds")
    if isinstance(devices, list) and devices and kind == "KIND_GPU":
        groups = _placed(workers, _devices(devices))
        placed = ", ".join(f"{one['count']} on each of {one['gpus']}" for one in groups)
        carried[-1] = Carried(f"minWorkers: {workers}", f"instance_group count: {placed}")
        carried.append(Carried(f"deviceIds: {devices}", "instance_group gpus"))
    fields: dict[str, Any] = {"instance_group": groups}
    batching: dict[str, Any] = {}
    if batch > 1:
        batching["max_queue_delay_microseconds"] = delay * 1000
        carried.append(
            Carried(f"maxBatchDelay: {delay}", f"max_queue_delay_microseconds: {delay * 1000}")
        )
    if queue:
        batching["default_queue_policy"] = {"max_queue_size": queue}
        carried.append(Carried(f"jobQueueSize: {queue}", f"max_queue_size: {queue}"))
    if batching:
        fields["dynamic_batching"] = batching
    if "deviceType" in given:
        carried.append(Carried(f"deviceType: {given['deviceType']}", f"kind: {kind}"))
    lost = tuple(Lost(key, why) for key, why in _WITHOUT.items() if given.get(key) is not None)
    return Scheduling(batch, fields, tuple(carried), lost)


def _kind(given: Mapping[str, Any]) -> str:
    kinds = {"cpu": "KIND_CPU", "gpu": "KIND_GPU", None: "KIND_AUTO"}
    device = given.get("deviceType")
    if device not in kinds:
        raise UsageError(
            f"deviceType {device!r} has no counterpart: Triton has cpu and gpu",
            where="model-config.yaml",
            fix="write cpu or gpu there",
        )
    return kinds[device]


def _placed(workers: int, devices: list[int]) -> list[dict[str, Any]]:
    """Return the groups that have as many instances as there are workers, which TorchServe gives
    to its devices in turn. The count of a group is that of each of its GPUs."""
    places = list(dict.fromkeys(devices))
    each, more = divmod(workers, len(places))
    shares = ((each + 1, places[:more]), (each, places[more:]))
    return [
        {"count": count, "kind": "KIND_GPU", "gpus": gpus}
        for count, gpus in shares
        if count * len(gpus)
    ]


def _devices(given: list[Any]) -> list[int]:
    if any(isinstance(one, bool) or not isinstance(one, int) or one >> 31 for one in given):
        raise UsageError(
            f"deviceIds is {given!r}",
            where="model-config.yaml",
            fix="write whole numbers from 0, such as [0, 1]",
        )
    return given


def _number(given: Mapping[str, Any], key: str, default: int) -> int:
    value = given.get(key, default)
    least = 0 if key in ("maxBatchDelay", "jobQueueSize") else 1
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 31:
        raise UsageError(
            f"{key} is {value!r}",
            where="model-config.yaml",
            fix=f"write a whole number from {least}",
        )
    return value
