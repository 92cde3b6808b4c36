"""What config.pbtxt and the model's place in the repository say."""

import json
import re
from pathlib import Path

# Where a repository is mounted inside a container: /models/<name>/<version>/<rest>
_MOUNTED = re.compile(r"^/models/(?P<name>[^/]+)/(?P<version>[0-9]+)(?:/(?P<rest>.+))?$")


class SettingsError(Exception):
    """A model directory that cannot be served; the message names the file and the key."""


def parameter(config, name, default=""):
    """A parameter of config.pbtxt as text."""
    return config.get("parameters", {}).get(name, {}).get("string_value", "").strip() or default


def flag(config, name, default):
    """A boolean parameter; SettingsError for anything but true and false."""
    text = parameter(config, name, str(default)).lower()
    if text not in ("true", "false"):
        raise SettingsError(f"config.pbtxt: {name} must be true or false, got {text!r}")
    return text == "true"


def number(config, name):
    """A positive number, or None when it is not there."""
    text = parameter(config, name)
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"config.pbtxt: {name} must be a number above 0, got {text!r}")
    return int(text)


def tokenizer_dir(config, version_dir):
    """The tokenizer's directory: relative to the version directory, or absolute.

    ``/models/<model>/<version>/rest`` is where containers mount the repository; served from
    anywhere else that path is looked up in the repository this model lies in.
    """
    named = parameter(config, "tokenizer_dir")
    if not named:
        raise SettingsError("config.pbtxt: the parameter tokenizer_dir is missing")
    version_dir = Path(version_dir)
    path = version_dir / named
    mounted = _MOUNTED.match(named)
    if mounted and not path.is_dir():
        root = version_dir.parent.parent
        path = root / mounted["name"] / mounted["version"] / (mounted["rest"] or "")
    if not path.is_dir():
        raise SettingsError(f"config.pbtxt: tokenizer_dir {named!r} is not a directory: {path}")
    return path


def read_json(path):
    """The object in ``path``, empty when there is no such file; SettingsError when broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: must be a JSON object")
    return found
