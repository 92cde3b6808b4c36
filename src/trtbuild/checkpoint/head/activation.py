"""Activation functions, which files name by torch's classes. No class is imported."""

from __future__ import annotations

from trtbuild.checkpoint.problems import Problems

_KNOWN = {
    "identity": "identity",
    "linear": "identity",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "tanh": "tanh",
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
}


def activation_name(named: object, where: str, problems: Problems, otherwise: str) -> str:
    """Return ``sigmoid`` for ``torch.nn.modules.activation.Sigmoid``, and so on.

    ``otherwise`` is returned for an empty name. A name outside torch is the checkpoint's own code,
    for which sentence-transformers uses the default.
    """
    if named in ("", None):
        return otherwise
    text = str(named)
    known = _KNOWN.get(text.rpartition(".")[2].removesuffix("()").lower())
    if not text.startswith("torch."):
        return otherwise
    if known is None:
        problems.add(
            f"{where} names an activation that is not served: {text!r}",
            f"served are torch.nn's {', '.join(sorted(_KNOWN.keys() - {'linear'}))}",
        )
    return known or otherwise
