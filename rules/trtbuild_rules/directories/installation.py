"""Installation: libraries and resources that the server must have, which no repository holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild import toolchain
from trtbuild.check.completed import nearest_backend
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild_rules.readers import known_backends

_AGENTS = {"checksum", "relocation"}


@rule(
    "TRT351",
    "the backend is in an NVIDIA image",
    fix="put libtriton_NAME.so into the model's directory, or into the server's backends",
    severity=Severity.WARNING,
    mirrors="TritonModel::GetBackendLibraryProperties",
    bad=[
        'backend: "pyhton"',
        Example('backend: "tensorflow" platform: "tensorflow_graphdef"', triton="25.03"),
    ],
    good='backend: "python"',
)
def backend_is_known(model: Model) -> Problems:
    """A backend is a library, ``libtriton_NAME.so``, in a version, in the model's directory or
    among the server's backends. For the last, this rule knows the backends of NVIDIA's images by
    release: TensorFlow ended with 25.02, TensorRT-LLM with 26.07."""
    name = model.backend
    if model.text is None:
        return  # a name such as sum.identity names the backend; TRT201 reports the others
    if not name or "${" in name or known_backends.has_backend(name, model.triton):
        return  # TRT104 reports a placeholder
    if _is_beside(model, f"libtriton_{name}.so"):
        return
    last = known_backends.last_with(name, model.triton)
    release = model.triton or toolchain.newest().triton
    yield Problem(
        f"the last NVIDIA image with the backend {name!r} is {last}, but this is for {release}"
        if last
        else f"no NVIDIA image has a backend {name!r}{_hint(name)}",
        model.at("backend" if model.config.backend else "platform"),
        server=f"unable to find backend library for backend '{name}', try specifying runtime on "
        "the model configuration.",
        fix=f"deploy it with Triton {last}, or export the model for another backend"
        if last
        else f"put libtriton_{name}.so into the model's directory, or install the backend (a "
        f"library, or its model.py) in backends/{name} of the server",
    )


def _hint(name: str) -> str:
    near = nearest_backend(name, known_backends.backends())
    return f"; did you mean {near!r}?" if near else ""


@rule(
    "TRT352",
    "the runtime is the backend's library",
    fix="remove 'runtime', or put the library into the model's directory",
    severity=Severity.WARNING,
    mirrors="TritonModel::GetBackendLibraryProperties",
    bad='runtime: "absent.so"',
    good='runtime: "libtriton_python.so"',
)
def runtime_is_known(model: Model) -> Problems:
    """``runtime`` names the library file, or ``model.py`` for a backend that is written in
    Python. A file of another name must lie in the model's directory."""
    runtime = model.config.runtime
    if runtime in ("", "model.py", f"libtriton_{model.backend}.so") or _is_beside(model, runtime):
        return
    yield Problem(
        f"there is no {runtime!r} in the model's directory",
        model.at("runtime"),
        server=f"unable to find backend library '{runtime}' for model '{model.called}', searched:",
    )


def _is_beside(model: Model, library: str) -> bool:
    folders = ("", *(f"{version}/" for version in model.served))
    return any((model.path / f"{folder}{library}").is_file() for folder in folders)


@rule(
    "TRT353",
    "repository agents are in NVIDIA's images",
    fix="remove model_repository_agents, or install the agent's library",
    severity=Severity.WARNING,
    mirrors="TritonRepoAgentManager::CreateAgent",
    bad=['model_repository_agents { agents { name: "absent" } }', "model_repository_agents { }"],
    good='model_repository_agents { agents { name: "checksum" } }',
)
def agents_are_known(model: Model) -> Problems:
    """An agent is a library of the server that changes or checks a model before it is loaded.
    A list without one crashes the server, and with it every model."""
    if model.config.HasField("model_repository_agents"):
        yield from _no_agents(model)
    for number, agent in enumerate(model.config.model_repository_agents.agents):
        if agent.name not in _AGENTS:
            yield Problem(
                f"no NVIDIA image has the agent {agent.name!r}",
                model.at("model_repository_agents", 0, "agents", number, "name"),
                server=f"unable to find 'libtritonrepoagent_{agent.name}.so' for repo agent "
                f"'{agent.name}', searched:",
            )


def _no_agents(model: Model) -> Problems:
    if not model.config.model_repository_agents.agents:
        yield Problem(
            "model_repository_agents lists no agent, which crashes the server",
            model.at("model_repository_agents", name=True),
            severity=Severity.ERROR,
            fix="remove model_repository_agents",
        )


def _resources(model: Model) -> Iterator[tuple[int, int, Any]]:
    """Number of a group, number of a resource that it needs, the resource."""
    for group, settings in enumerate(model.config.instance_group):
        for number, resource in enumerate(settings.rate_limiter.resources):
            yield group, number, resource


@rule(
    "TRT354",
    "a resource is global or per device, not both",
    fix="set global: true everywhere, or nowhere",
    severity=Severity.WARNING,
    mirrors="ResourceManager::ValidateMaxResources",
    bad=(
        "instance_group [\n"
        '  { kind: KIND_CPU rate_limiter { resources [ { name: "R" count: 1 } ] } },\n'
        '  { kind: KIND_CPU rate_limiter { resources [ { name: "R" count: 1 global: true } ] } }\n'
        "]"
    ),
    good=(
        "instance_group [\n"
        '  { kind: KIND_CPU rate_limiter { resources [ { name: "R" count: 1 } ] } }\n]'
    ),
)
def resources_agree(model: Model) -> Problems:
    """A server that is started with ``--rate-limit=execution_count`` refuses the model of the
    second such instance, or crashes. It looks at all models together; without the flag it
    ignores resources."""
    if not any(_resources(model)):
        return
    kinds: dict[str, set[bool]] = {}
    for other in model.repository.all_models:
        for _, _, resource in _resources(other) if other.config is not None else ():
            kinds.setdefault(resource.name, set()).add(bool(getattr(resource, "global")))
    for group, number, resource in _resources(model):
        if len(kinds[resource.name]) > 1:
            place = ("instance_group", group, "rate_limiter", 0, "resources", number, "name")
            yield Problem(
                f"the resource {resource.name!r} is global here and per device there",
                model.at(*place),
                server=f'Resource "{resource.name}" is present as both global and device-specific '
                "resource in the model configuration.",
            )
