"""The head of an embedding model: pooling, dense layers, normalization, dimensions.

Facts from sentence-transformers 6.2.0 (``sentence_transformer/modules/pooling.py``,
``base/modules/dense.py``, ``base/modules/normalize.py``) and 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trtbuild.checkpoint import families
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head.activation import activation_name
from trtbuild.checkpoint.head.files import MODULES, Module, SentenceFiles, module_config
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import DenseLayer, Head, HeadKind

# The older format's flags, in the order in which their vectors are concatenated.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_MODES = frozenset(_SWITCHES.values())
_WIDTHS = ("embedding_dimension", "word_embedding_dimension")
_STEPS = {"Pooling": 0, "Dense": 1, "Normalize": 2}  # the order in a head


def dense_head(
    checkpoint: Checkpoint, fields: Fields, files: SentenceFiles, problems: Problems
) -> Head:
    """Return the head of a model that makes one vector of a text or an image."""
    if not files.modules and any(fields.top.get(key) for key in families.VISION_KEYS):
        return Head(HeadKind.DENSE, dimension=_number(fields.top, "projection_dim"))
    pooling, include_prompt, width = pooling_of(checkpoint, fields, files, problems)
    layers = dense_layers(checkpoint, files, width, problems)
    dimension = layers[-1].outputs if layers else width
    sizes = _matryoshka(checkpoint)
    return Head(
        HeadKind.DENSE,
        pooling=pooling,
        include_prompt=include_prompt,
        layers=layers,
        normalized=bool(files.of_kind("Normalize")),
        dimension=dimension,
        truncate_dimension=_number(files.settings, "truncate_dim"),
        is_matryoshka=bool(sizes) or checkpoint.config.get("is_matryoshka") is True,
        matryoshka=sizes,
    )


def pooling_of(
    checkpoint: Checkpoint, fields: Fields, files: SentenceFiles, problems: Problems
) -> tuple[tuple[str, ...], bool, int]:
    """Return the modes, whether a prompt's tokens count, and the size of the pooled vector."""
    _require_order(files, problems)
    width = fields.number(families.HIDDEN)
    poolings = files.of_kind("Pooling")
    modes: tuple[str, ...] = (default_pooling(fields),)
    include_prompt = True
    for module in poolings:
        modes, include_prompt = _pooling(checkpoint, module, width, problems)
    if files.modules and not poolings and not files.of_kind("LogitScore"):
        problems.add(
            f"{MODULES} names no Pooling, so nothing makes one vector of the tokens",
            f"fetch {MODULES} again, or add the Pooling that the model was trained with",
        )
    return modes, include_prompt, len(modes) * width


def default_pooling(fields: Fields) -> str:
    """Return the default of sentence-transformers."""
    causal = fields.architecture.endswith("ForCausalLM") and fields.get("is_causal") is not False
    return "lasttoken" if causal else "mean"


def _require_order(files: SentenceFiles, problems: Problems) -> None:
    steps = [_STEPS[module.kind] for module in files.modules if module.kind in _STEPS]
    for earlier, later in itertools.pairwise(steps):
        if earlier > later or earlier == later != _STEPS["Dense"]:
            chain = ", ".join(module.kind for module in files.modules)
            problems.add(
                f"{MODULES} has an order that is not served: {chain}",
                "served are a Pooling, then Dense layers, then a Normalize",
            )
            return


def _pooling(
    checkpoint: Checkpoint, module: Module, width: int, problems: Problems
) -> tuple[tuple[str, ...], bool]:
    """Return the modes, and whether a prompt's tokens count."""
    name = module.config_file
    config = module_config(checkpoint, module)
    if config is None:
        problems.add(
            f"{name} is missing, which says how tokens become one vector; {MODULES} names it",
            f"fetch {name} from where the checkpoint came from",
        )
        return ("mean",), True
    for key in _WIDTHS:
        said = config.get(key, width)
        if said != width and width:
            problems.add(
                f"{name} says {key} {said!r}, and config.json a width of {width}",
                "keep the two files of the same model",
            )
    return _modes(config, name, problems), config.get("include_prompt") is not False


def _modes(config: Mapping[str, Any], name: str, problems: Problems) -> tuple[str, ...]:
    """Return the modes from either format; if both are there, they must agree."""
    switches = {key: mode for key, mode in _SWITCHES.items() if key in config}
    old = tuple(mode for key, mode in switches.items() if config[key] is True)
    said = config.get("pooling_mode")
    new = tuple(map(str, said)) if isinstance(said, list) else (str(said),) if said else ()
    fix = f"correct {name}: the model's card says which pooling it was trained with"
    if unknown := [mode for mode in new if mode not in _MODES]:
        problems.add(f"{name} names an unknown pooling_mode {unknown[0]!r}", fix)
    elif new and switches and set(new) != set(old):
        problems.add(
            f"{name} contradicts itself: pooling_mode says {_joined(new)}, and the older keys "
            f"say {_joined(old)}",
            fix,
        )
    elif switches.keys() >= {"pooling_mode_mean_tokens"} and not old and not new:
        problems.add(f"{name} turns every pooling mode off", fix)
    return new or old or ("mean",)


def _joined(modes: Sequence[str]) -> str:
    return " and ".join(modes) or "none"


def dense_layers(
    checkpoint: Checkpoint, files: SentenceFiles, width: int, problems: Problems
) -> tuple[DenseLayer, ...]:
    """Return the Dense modules of the chain, the first of which takes ``width`` numbers."""
    layers = []
    for module in files.of_kind("Dense"):
        layer = _dense(module, module_config(checkpoint, module) or {}, problems)
        if layer is None:
            continue
        if width and layer.inputs != width:
            problems.add(
                f"{module.config_file} takes vectors of {layer.inputs} numbers, and what comes "
                f"before it makes {width}",
                f"fetch {module.path} and {MODULES} again, from the same revision",
            )
        for what in _without_weights(checkpoint, layer):
            problems.add(
                f"the Dense layer {module.path} has no weights: {what}",
                f"fetch {module.path}/model.safetensors; pytorch_model.bin is a pickle, which is "
                "not read: save the model again by sentence-transformers 3 or newer",
            )
        layers.append(layer)
        width = layer.outputs
    return tuple(layers)


def _dense(module: Module, config: Mapping[str, Any], problems: Problems) -> DenseLayer | None:
    inputs, outputs = _number(config, "in_features"), _number(config, "out_features")
    if not inputs or not outputs:
        problems.add(
            f"{module.config_file} does not say the Dense layer's in_features and out_features",
            f"fetch {module.config_file} from where the checkpoint came from",
        )
        return None
    return DenseLayer(
        directory=module.path,
        inputs=inputs,
        outputs=outputs,
        bias=config.get("bias") is not False,
        activation=activation_name(
            config.get("activation_function", ""), module.config_file, problems, "tanh"
        ),
        residual=config.get("use_residual") is True,
    )


def _without_weights(checkpoint: Checkpoint, layer: DenseLayer) -> Iterator[str]:
    """Return which of a layer's weights are missing or have another shape."""
    file = f"{layer.directory}/model.safetensors"
    if not checkpoint.has(file):
        yield f"{file} is missing"
        return
    wanted: dict[str, tuple[int, ...]] = {"linear.weight": (layer.outputs, layer.inputs)}
    wanted |= {"linear.bias": (layer.outputs,)} if layer.bias else {}
    for name, shape in wanted.items():
        found = checkpoint.tensors.get(f"{layer.directory}/{name}")
        if found is None:
            yield f"{file} lacks {name}"
        elif tuple(found.shape) != shape:
            yield f"{name} of {file} has the shape {list(found.shape)}, not {list(shape)}"


def _matryoshka(checkpoint: Checkpoint) -> tuple[int, ...]:
    listed = checkpoint.config.get("matryoshka_dimensions")
    sizes = listed if isinstance(listed, list) else []
    return tuple(sorted({size for size in sizes if type(size) is int and size > 0}))


def _number(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    return value if type(value) is int and value > 0 else 0
