"""FIL: the parameters that the backend for trees does not load without.

Sources: fil_backend, ``RapidsSharedState::load`` (src/shared_state.h) and
``string_to_serialization`` (src/serialization.h); rapids-triton, ``get_config_param``
(model/shared_state.hpp).
"""

from __future__ import annotations

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild_rules.readers import known_backends

_RENAMED = "25.09"  # output_class is is_classifier from this release on, and still read
_BOOLEANS = ("true", "false")


def _fil(**parameters: str) -> Example:
    written = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
    )
    config = f'backend: "fil" instance_group [ {{ kind: KIND_CPU }} ]\n{written}'
    return Example(config, {"m/1/": "", "m/1/xgboost.json": "{}", "m/1/xgboost.model": "x"})


@rule(
    "TRT651",
    "a FIL model has the parameters that the backend requires",
    fix="set is_classifier (before 25.09: output_class) to true or false, threshold for a "
    "classifier, and model_type to the format of the file",
    mirrors="RapidsSharedState::load",
    backends=("fil",),
    bad=[
        _fil(model_type="xgboost_json"),
        _fil(model_type="json", is_classifier="false"),
        _fil(model_type="xgboost_json", is_classifier="true"),
        _fil(model_type="xgboost_json", is_classifier="yes"),
    ],
    good=[
        _fil(model_type="xgboost_json", is_classifier="false"),
        _fil(output_class="true", threshold="0.5"),
    ],
)
def parameters(model: Model) -> Problems:
    """Whether the model is a classifier has no default. ``model_type`` is ``xgboost`` if it is left
    out; then the file is in XGBoost's old binary format."""
    given = model.parameters()
    known = known_backends.backends()["fil"].by["model_type"]
    kind = given.get("model_type", "xgboost")
    if kind not in known:
        yield Problem(
            f"there is no model_type {kind!r}; the backend has {', '.join(known)}",
            model.at_parameter("model_type"),
            server=f"{kind} not recognized as a valid serialization format.",
        )
    renamed = model.judged_as[0] >= _RENAMED
    old = given.get("output_class", "")
    name = "is_classifier" if renamed and old not in _BOOLEANS else "output_class"
    said = given.get(name)
    if said is None:
        yield _lacks(name)
    elif said not in _BOOLEANS:
        yield Problem(f"{name} is {said!r}, not true or false", model.at_parameter(name))
    elif said == "true" and "threshold" not in given:
        yield _lacks("threshold")


def _lacks(name: str) -> Problem:
    return Problem(
        f"there is no parameter {name!r}",
        server=f"Required parameter {name} not found in config",
    )
