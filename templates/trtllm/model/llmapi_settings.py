"""What a model directory says: arguments of LLM(), Triton's own settings, devices.

Everything here is plain Python, so that a wrong model.yaml is refused before TensorRT-LLM, which
takes a GPU and many seconds to import, is touched.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# Where a repository is mounted inside a container: /models/<name>/<version>/<rest>
_MOUNTED = re.compile(r"^/models/(?P<name>[^/]+)/(?P<version>[0-9]+)(?:/(?P<rest>.+))?$")
_TRITON_KEYS = frozenset(
    {"max_batch_size", "decoupled", "cancellation_check_period_ms", "adapters", "instances",
     "gpu_device_ids"}
)  # fmt: skip
# What an MPI launcher leaves behind for its own children. A server started under mpirun would
# hand it on to the workers that TensorRT-LLM spawns, which then wait for ranks that never come.
_MPI_JOB = re.compile(
    r"(OMPI_(COMM_WORLD|UNIVERSE|APP_CTX|FIRST_RANKS)|OMPI_MCA_orte_|ORTE_"
    r"|PMI_(RANK|SIZE|FD|SPAWNED|APPNUM)$|PMIX_(?!MCA_))"
)


class SettingsError(Exception):
    """A model directory that cannot be served; the message names the file and the key."""


@dataclass(frozen=True)
class Settings:
    """``model.yaml``: what LLM() gets, and what this model itself heeds.

    ``cancellation_seconds`` is how often clients that left are looked for; ``adapters`` maps the
    names of LoRA adapters to their directories.
    """

    arguments: dict
    cancellation_seconds: float = 0.1
    adapters: dict = field(default_factory=dict)


def read(model_dir):
    """The settings of a version directory; SettingsError says what is wrong with them."""
    path = Path(model_dir) / "model.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"model.yaml is missing in {path.parent}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must map the names of LLM() arguments to values")
    triton = document.pop("triton_config", None) or {}
    unknown = sorted(set(triton) - _TRITON_KEYS)
    if unknown:
        known = ", ".join(sorted(_TRITON_KEYS))
        raise SettingsError(f"{path}: triton_config has no {', '.join(unknown)}; it has {known}")
    arguments = _resolved(document, model_dir)
    model = arguments.get("model")
    if not isinstance(model, str) or not model:
        raise SettingsError(f"{path}: 'model' must name the weights")
    if model.startswith("/") and not Path(model).exists():
        raise SettingsError(f"{path}: no weights at {model}")
    return Settings(
        arguments=arguments,
        cancellation_seconds=_period(triton, path),
        adapters=_resolved(triton.get("adapters") or {}, model_dir),
    )


def _period(triton, path):
    value = triton.get("cancellation_check_period_ms", 100)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(
            f"{path}: cancellation_check_period_ms must be a positive number of milliseconds"
        )
    return value / 1000


def _resolved(value, model_dir):
    """``value`` with every path of the mount point as it is on this machine."""
    if isinstance(value, dict):
        return {key: _resolved(item, model_dir) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, model_dir) for item in value]
    return resolve(value, model_dir) if isinstance(value, str) else value


def resolve(value, model_dir):
    """``/models/<name>/<version>/rest`` as a path of this model's own repository.

    A repository names its weights by where containers mount it. Served from anywhere else that
    path does not exist, and the same files lie beside model.yaml.
    """
    mounted = _MOUNTED.match(value)
    if mounted is None or Path(value).exists():
        return value
    own = Path(model_dir)
    named = own.parent.parent / mounted["name"] / mounted["version"]
    # A model directory may have been renamed: its own version directory is the last resort.
    for directory in (named, own):
        local = directory / (mounted["rest"] or "")
        if local.exists():
            return str(local)
    return value


def visible_devices(instance_name, model_config, arguments):
    """The GPUs of this instance such as ``0,1``, or None to leave all visible.

    The parameter ``gpu_device_ids`` has a group for each instance: ``0,1;2,3``.
    """
    parameter = model_config.get("parameters", {}).get("gpu_device_ids", {})
    text = parameter.get("string_value", "").strip()
    count = sum(int(group.get("count", 1)) for group in model_config.get("instance_group", []))
    if not text:
        if count > 1:
            raise SettingsError(
                f"{count} instances need the parameter gpu_device_ids in config.pbtxt, "
                "a group of GPUs for each: 0,1;2,3"
            )
        return None
    groups = [[item.strip() for item in group.split(",")] for group in text.split(";")]
    ids = [item for group in groups for item in group]
    if not all(item.isdigit() for item in ids) or len(set(ids)) != len(ids):
        raise SettingsError(
            f"gpu_device_ids must be different GPU indexes such as 0,1;2,3: got {text!r}"
        )
    if len(groups) != max(1, count):
        raise SettingsError(f"gpu_device_ids has {len(groups)} groups for {count} instances")
    chosen = groups[_instance_number(instance_name, len(groups))]
    world = world_size(arguments)
    if len(chosen) != world:
        raise SettingsError(
            f"gpu_device_ids gives an instance {len(chosen)} GPUs, and model.yaml wants {world} "
            "(tensor x pipeline x context parallel size)"
        )
    return ",".join(chosen)


def _instance_number(instance_name, count):
    """Triton names instances ``<model>_<group>_<number>``."""
    number = instance_name.rpartition("_")[2]
    return int(number) % count if number.isdigit() else 0


def world_size(arguments):
    """How many GPUs the arguments of LLM() ask for."""
    names = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size")
    world = 1
    for name in names:
        world *= int(arguments.get(name) or 1)
    return world


def forget_mpi_job(environment=os.environ):
    """Remove an outer MPI job's variables, unless TensorRT-LLM's own launcher set them."""
    if environment.get("TLLM_SPAWN_PROXY_PROCESS") == "1":
        return
    for name in [name for name in environment if _MPI_JOB.match(name)]:
        del environment[name]
