"""Security: what would let others run code, read files, or climb out of the repository."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from trtbuild import toolchain
from trtbuild.check.context import Model, Repository
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.located.positions import Position
from trtbuild_rules.readers.modelyaml import llm_api_files
from trtbuild_rules.readers.named_directories import NamedDirectory, named_directories
from trtbuild_rules.readers.served import reading_of, release_of, trtllm_release_of
from trtbuild_rules.readers.tokenizing import facts_of, settings

if TYPE_CHECKING:
    from trtbuild.toolchain import Advisory

_WEIGHTS = "m/1/weights/"
_SHOWN = 3  # models that are named; the others are counted
_WRITTEN = ("/tmp/", "/var/")  # noqa: S108
_WRITES = re.compile(r"cache|(^|_)logs?(_|$)|dump|output|trace|tmp|temp(_|$)", re.IGNORECASE)
_IN_IMAGE = ("/models/", "/opt/tritonserver/", "/opt/conda/", "/dev/shm", "/usr/")  # noqa: S108


@rule(
    "TRT851",
    "no release with a known vulnerability serves a model",
    fix="deploy on a newer release (trtbuild convert --triton YY.MM; trtbuild toolchains)",
    severity=Severity.WARNING,
    scope="repository",
    bad=Example(triton="24.06"),
    good=Example(triton="26.07"),
)
def known_vulnerabilities(repository: Repository) -> Problems:
    """A dated table names the releases of Triton, vLLM, TensorRT-LLM and transformers with
    vulnerabilities that a client, a checkpoint or a local user can exploit; the last is only an
    info. There is one finding per program and repository, and it names the worst. ``--json``
    lists all of them under ``details``, and ``trtbuild rules TRT851`` shows those of the oldest
    release. Checked only when the release is known from the lock or ``--triton``."""
    served: dict[tuple[str, str], list[str]] = defaultdict(list)
    loaded = [model for model in repository.models if model.config is not None]
    for model in loaded:
        for program, version in _programs(model).items():
            served[program, version].append(model.name)
    for (program, version), models in served.items():
        known = toolchain.advisories_of(program, version)
        if not known:
            continue
        worst = max(known, key=_weight)
        count = sum(max(1, sum(name.startswith("CVE-") for name in one.ids)) for one in known)
        yield Problem(
            f"{program} {version}{_serving(models, len(loaded))} has {_counted(count)}"
            f"{'' if worst.remote else ', all of them for local users'}"
            f"; the worst is {worst.ids[0]}{_score(worst)}: {worst.what}",
            file="",
            fix=f"{_remedy(program, known)}; {worst.source.rpartition(', ')[2]}",
            severity=None if worst.remote else Severity.INFO,
            details=tuple(map(_said, sorted(known, key=_weight, reverse=True))),
        )


def _weight(advisory: Advisory) -> tuple[bool, float, str]:
    """What strangers can use weighs most, then the score."""
    return advisory.remote, advisory.score, advisory.published


def _counted(count: int) -> str:
    return f"{count} known vulnerabilities" if count > 1 else "a known vulnerability"


def _serving(models: list[str], loaded: int) -> str:
    """The models that a program serves, unless it serves all."""
    if len(models) == loaded:
        return ""
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return f" (serves {', '.join(models[:_SHOWN])}{more})"


def _programs(model: Model) -> dict[str, str]:
    """The versions of what serves a model, empty where not known."""
    programs = {"triton": model.triton} if model.triton else {}
    if not programs:
        return {}
    if model.backend == "vllm":
        programs["vllm"] = release_of(model)
    lock = model.repository.lock
    owner = lock.owner(model.name)
    versions = lock.models[owner].versions if owner else {}
    if owner:
        programs["transformers"] = versions.get("transformers", "")
    by_llm_api = any("model" in text.value for text in llm_api_files(model))
    if model.backend == "tensorrtllm" or by_llm_api or "tensorrt-llm" in versions:
        programs["tensorrt-llm"] = trtllm_release_of(model)
    return programs


def _said(advisory: Advisory) -> str:
    head = f"{', '.join(advisory.ids)}{_score(advisory)}"
    facts = f"used from: {advisory.reach}; fixed in {advisory.fixed}; {advisory.source}"
    return f"{head}: {advisory.what} ({facts})"


def _score(advisory: Advisory) -> str:
    return f" (CVSS {advisory.score})" if advisory.score else ""


def _remedy(program: str, known: tuple[Advisory, ...]) -> str:
    fixed = max((one.fixed for one in known), key=Version)
    if program == "transformers":
        return f"use transformers {fixed} or newer"
    carried = {"vllm": "vllm", "tensorrt-llm": "trtllm", "triton": "triton"}[program]
    rows = [row for row in toolchain.releases() if getattr(row, carried)]
    newer = [row.triton for row in rows if Version(getattr(row, carried)) >= Version(fixed)]
    if newer:
        return f"deploy on Triton {min(newer)} or newer (--triton {min(newer)})"
    return f"no Triton image has {program} {fixed} yet: let nobody else onto the machine"


@rule(
    "TRT852",
    "file names in the configuration stay inside the model",
    fix="name a file of the version directory, without .. or a leading /",
    severity=Severity.WARNING,
    bad=[
        Example('default_model_filename: "../../other/1/model.py"'),
        Example('default_model_filename: "/srv/shared/model.py"'),
    ],
    good='default_model_filename: "model.py"',
)
def names_stay_inside(model: Model) -> Problems:
    """A name with ``..`` or an absolute path reaches files outside the reviewed repository, and
    breaks when the repository is moved."""
    config = model.config
    names: list[tuple[str, tuple[str | int, ...]]] = [
        (config.default_model_filename, ("default_model_filename",)),
        (config.runtime, ("runtime",)),
    ]
    names += [
        (value, ("cc_model_filenames", number, "value"))
        for number, value in enumerate(config.cc_model_filenames.values())
    ]
    for value, path in names:
        if value.startswith("/") or ".." in value.split("/"):
            yield Problem(f"{path[0]} is {value!r}, outside the version directory", model.at(*path))


@rule(
    "TRT853",
    "no parameter names a path on one machine",
    fix="put the file into the repository and name it by /models/NAME/VERSION/…",
    severity=Severity.WARNING,
    bad='parameters { key: "asset_dir" value { string_value: "/home/me/assets" } }',
    good='parameters { key: "asset_dir" value { string_value: "/models/m/1/assets" } }',
)
def portable_parameters(model: Model) -> Problems:
    """An absolute path that is not one of a Triton container exists on the machine of who wrote
    it: the repository cannot be moved, mounted or built into an image. Paths to write to, such as a
    cache or a log, are fine. One finding names all parameters of a model."""
    named = sorted(
        (at.line, at.column, key, value)
        for key, value in model.parameters().items()
        if _is_elsewhere(key, value)
        for at in (model.at_parameter(key),)
    )
    if named:
        _, _, key, value = named[0]
        others = ", ".join(repr(row[2]) for row in named[1:])
        more = f", and so do {others}" if others else ""
        message = f"{key!r} names the absolute path {value!r}{more}"
        yield Problem(message, model.at_parameter(key))


def _is_elsewhere(key: str, value: str) -> bool:
    absolute = value.startswith("/") and len(value) > 1 and "\n" not in value
    if not absolute or value.startswith((*_IN_IMAGE, *_WRITTEN)):
        return False
    return key != "tokenizer_dir" and not _WRITES.search(key)


@rule(
    "TRT854",
    "the chat template reads only its data",
    fix="use the template of the model's authors; remove what reads attributes with underscores",
    severity=Severity.WARNING,
    bad=Example(
        files={_WEIGHTS + "chat_template.jinja": "{{ messages.__class__.__mro__ }}"},
        base="checkpoint",
    ),
    good=Example(files={_WEIGHTS + "chat_template.jinja": "{{ messages }}"}, base="checkpoint"),
)
def tame_template(model: Model) -> Problems:
    """A chat template is a program from a third party. One that reads ``__class__`` and similar
    attributes tries to escape the sandbox that servers run it in."""
    for folder, file in _inside(model, "chat_template.jinja"):
        facts = facts_of(folder.path, model.repository.root)
        for name in facts.reaches:
            yield Problem(f"the chat template reads {name!r}", file=file)


_KNOWN_TYPE = """{
  "model_type": "deepseek_v3",
  "auto_map": { "AutoModel": "modeling_deepseek.M" }
}"""


@rule(
    "TRT855",
    "config.json names no code",
    fix="use a checkpoint without it, or read the code and convert with --trust-remote-code",
    severity=Severity.WARNING,
    bad=[
        Example(
            files={_WEIGHTS + "config.json": '{ "auto_map": { "AutoModel": "org/x--m.M" } }'},
            base="checkpoint",
        ),
        Example(
            files={
                _WEIGHTS + "config.json": '{ "_attn_implementation_internal": "org/kernel" }',
            },
            base="checkpoint",
        ),
    ],
    good=[
        Example(base="checkpoint"),
        Example(
            files={_WEIGHTS + "config.json": _KNOWN_TYPE},
            base="checkpoint",
            triton="26.07",
        ),
    ],
)
def no_code_in_config(model: Model) -> Problems:
    """``auto_map`` names Python of the checkpoint or of the hub, and releases have run it although
    trust_remote_code was off (CVE-2026-22807); ``_attn_implementation_internal`` did the same
    (CVE-2026-4372). Not reported where the release uses a class of its own for the
    ``model_type``."""
    trusted = _trusts(model)
    for folder, file in _inside(model, "config.json"):
        config = settings(folder.path, model.repository.root, "config.json")
        if config.get("auto_map") and not trusted and not _has_own(model, config):
            yield Problem("auto_map names code, but trust_remote_code is not set", file=file)
        kernel = config.get("_attn_implementation_internal")
        if isinstance(kernel, str) and "/" in kernel:
            yield Problem(f"_attn_implementation_internal names {kernel!r} on the hub", file=file)


def _has_own(model: Model, config: Mapping[str, Any]) -> bool:
    """Whether the release reads this configuration with a class of its own, and only so."""
    reading = reading_of(model)
    if reading is None or not reading.knows_type(str(config.get("model_type", ""))):
        return False
    known = toolchain.advisories_of("vllm", release_of(model)) if model.backend == "vllm" else ()
    return not any(advisory.auto_map for advisory in known)


def _trusts(model: Model) -> bool:
    from trtbuild_rules.readers.modelyaml import llm_api_files
    from trtbuild_rules.readers.served import engines

    said = [engine.settings for engine in engines(model)] if model.backend == "vllm" else []
    said += [dict(text.value) for text in llm_api_files(model)]
    return any(one.get("trust_remote_code") is True for one in said)


def _inside(model: Model, name: str) -> Iterator[tuple[NamedDirectory, str]]:
    for folder in named_directories(model):
        if folder.path.is_dir():
            yield folder, folder.relative(model, name)


_PICKLES = (".pkl", ".pickle", ".joblib", ".dill")


@rule(
    "TRT856",
    "the model has no pickle",
    fix="store data as safetensors, JSON or numpy without pickles",
    severity=Severity.WARNING,
    needs_config=False,
    bad={"m/1/state.pkl": b"\x80\x04N."},
    good={"m/1/state.json": "{}"},
)
def no_pickles(model: Model) -> Problems:
    """Loading a pickle can run any code that its author put there."""
    for entry in model.tree:
        if entry.kind == "file" and entry.path.endswith(_PICKLES):
            yield Problem(f"{entry.path} is a pickle", Position(), file=entry.path)
