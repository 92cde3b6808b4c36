"""References: models that a model calls by name while it runs (business logic scripting)."""

from __future__ import annotations

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild_rules.backends.python import sources

# Parameters of NVIDIA's BLS models, which always name a model of the repository.
_ENGINES = ("tensorrt_llm_model_name", "tensorrt_llm_draft_model_name", "multimodal_encoders_name")
_CALL = 'parameters {{ key: "tensorrt_llm_model_name" value {{ string_value: "{}" }} }}'


_CALLING = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceRequest(model_name=self.name).exec() for _ in requests]
"""


def _calling(name: str) -> Example:
    parameter = f'parameters {{ key: "next_model_name" value {{ string_value: "{name}" }} }}'
    return Example(parameter, {"m/1/model.py": _CALLING})


@rule(
    "TRT381",
    "models that a parameter names exist",
    fix="put the model into the repository, or name an existing one",
    severity=Severity.WARNING,
    backends=("python",),
    bad=[_CALL.format("absent"), _calling("absent")],
    good=[_CALL.format("m"), _calling("org/bert")],
)
def called_models(model: Model) -> Problems:
    """A Python model that calls another one often gets its name from a parameter that ends in
    ``model_name``. The server does not check it, so the first request fails. If ``model.py`` calls
    no models, such a parameter names weights or a hub id; so does a name with a slash."""
    calls = any(source.calls_models is not None for _, source in sources(model))
    for key, name in model.filled().items():
        named = key in _ENGINES or (calls and key.endswith("model_name"))
        could_be = "${" not in name and "/" not in name
        if named and could_be and model.repository.find(name) is None:
            yield Problem(
                f"the parameter {key!r} names the model {name!r}, which does not exist",
                model.at_parameter(key),
            )
