"""What a model directory says: engine arguments, adapters, devices.

Everything here is plain Python, so that a wrong model.json is refused before vLLM, which takes
seconds to import, is touched.
"""

import difflib
import json
import os
import re
import sys
from pathlib import Path

# Where a repository is mounted inside a container: /models/<name>/<version>/<rest>
_MOUNTED = re.compile(r"^/models/(?P<name>[^/]+)/(?P<version>[0-9]+)(?:/(?P<rest>.+))?$")
_PATH_ARGUMENTS = ("model", "tokenizer", "hf_config_path", "chat_template", "download_dir")


class SettingsError(Exception):
    """A model directory that cannot be served; the message names the file and the key."""


def read_json(path):
    """The JSON object in ``path``; SettingsError when it is missing or not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path.name} is missing in {path.parent}") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise SettingsError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: must be a JSON object of engine arguments")
    return value


def resolve(value, model_dir):
    """``/models/<name>/<version>/rest`` as a path of this model's own directory.

    A repository names its weights by where containers mount it. Served from anywhere else that
    path does not exist, and the same files lie beside model.json.
    """
    if not isinstance(value, str) or Path(value).exists():
        return value
    mounted = _MOUNTED.match(value)
    if mounted is None:
        return value
    own = Path(model_dir)
    named = own.parent.parent / mounted["name"] / mounted["version"]
    # A model directory may have been renamed: its own version directory is the last resort.
    for directory in (named, own):
        local = directory / (mounted["rest"] or "")
        if local.exists():
            return str(local)
    return value


def engine_arguments(model_dir):
    """Engine arguments of model.json, paths resolved.

    A launcher that finds no C++ compiler, without which vLLM on a CPU cannot compile the model,
    asks with TRTBUILD_ENFORCE_EAGER=1 for running it as it is; model.json has the last word.
    """
    arguments = read_json(Path(model_dir) / "model.json")
    if os.environ.get("TRTBUILD_ENFORCE_EAGER") == "1":
        arguments.setdefault("enforce_eager", True)
    for name in _PATH_ARGUMENTS:
        if name in arguments:
            arguments[name] = resolve(arguments[name], model_dir)
    model = arguments.get("model")
    if not isinstance(model, str) or not model:
        raise SettingsError(f"{Path(model_dir) / 'model.json'}: 'model' must name the weights")
    if model.startswith("/") and not Path(model).exists():
        raise SettingsError(f"{Path(model_dir) / 'model.json'}: no weights at {model}")
    return arguments


def find_torchvision():
    """Make torchvision importable where the launcher keeps it, here and in child processes.

    The server's own environment has none, or one that cannot be imported.
    """
    folder = os.environ.get("TRTBUILD_TORCHVISION", "")
    if folder and folder not in sys.path:
        sys.path.append(folder)
        paths = filter(None, (os.environ.get("PYTHONPATH"), folder))
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def unknown_arguments(arguments, known):
    """A sentence naming every argument this vLLM does not have; empty when there is none."""
    unknown = []
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            unknown.append(f"'{name}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
    return ", ".join(unknown)


def adapters(model_dir, arguments):
    """LoRA adapters by name when ``enable_lora`` is on; SettingsError without multi_lora.json."""
    if str(arguments.get("enable_lora", False)).lower() != "true":
        return {}
    found = read_json(Path(model_dir) / "multi_lora.json")
    return {str(name): resolve(path, model_dir) for name, path in found.items()}


def string_parameter(model_config, name):
    """A string parameter of config.pbtxt, empty when it is not there."""
    return model_config.get("parameters", {}).get(name, {}).get("string_value", "")


def flag(model_config, name):
    """A boolean parameter of config.pbtxt."""
    return string_parameter(model_config, name).strip().lower() == "true"


def visible_devices(kind, device_id, model_config, arguments):
    """CUDA_VISIBLE_DEVICES for this instance, or None to leave it alone.

    KIND_GPU pins the one device Triton gave; KIND_MODEL pins GPU_DEVICE_IDS when it is set.
    """
    world = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        world *= int(arguments.get(name, 1))
    if kind == "GPU":
        if world > 1:
            raise SettingsError(
                f"KIND_GPU gives an instance one GPU and model.json wants {world}: "
                "use KIND_MODEL in config.pbtxt"
            )
        return str(device_id) if int(device_id) >= 0 else None
    wanted = string_parameter(model_config, "GPU_DEVICE_IDS").strip()
    if kind != "MODEL" or not wanted:
        return None
    ids = [item.strip() for item in wanted.split(",")]
    if not all(item.isdigit() for item in ids) or len(set(ids)) != len(ids):
        raise SettingsError(
            f"GPU_DEVICE_IDS must be different non-negative integers, such as 0,1: got {wanted!r}"
        )
    if world > 1 and len(ids) != world:
        raise SettingsError(
            f"GPU_DEVICE_IDS names {len(ids)} GPUs and tensor_parallel_size x "
            f"pipeline_parallel_size is {world}"
        )
    return ",".join(ids)
