"""A checkpoint in PyTorch: its body, pooling, dense layers and normalization in one module.

The export to ONNX and the served model of the builder torch both run this.
"""

import json
from pathlib import Path

import torch
from torch import nn

_ACTIVATIONS = {
    "identity": nn.Identity, "tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid, "silu": nn.SiLU,
}  # fmt: skip


class Vectors(nn.Module):
    """A vector for each text."""

    def __init__(self, body, folder, graph):
        super().__init__()
        self.body, self.config = body, body.config
        self._pooling, self._normalize = graph["pooling"], graph["normalize"]
        self.dense = nn.ModuleList(_Dense(Path(folder), one) for one in graph["dense"])

    def forward(self, **inputs):
        """``embeddings`` of a padded batch."""
        pooling_mask = inputs.pop("pooling_mask", inputs["attention_mask"])
        states = self.body(**inputs).last_hidden_state
        vectors = torch.cat([_POOLING[mode](states, pooling_mask) for mode in self._pooling], dim=1)
        for layer in self.dense:
            vectors = layer(vectors)
        if self._normalize:
            vectors = nn.functional.normalize(vectors, p=2, dim=1)
        return {"embeddings": vectors}


class Logits(nn.Module):
    """The numbers of a sequence classifier before its activation."""

    def __init__(self, body):
        super().__init__()
        self.body, self.config = body, body.config

    def forward(self, **inputs):
        """``logits`` of a padded batch."""
        return {"logits": self.body(**inputs).logits}


def load(folder, task, graph):
    """The module of a checkpoint, in float32, from safetensors alone and without its code."""
    import transformers

    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    if task != "embed":
        kind = transformers.AutoModelForSequenceClassification
    else:
        encoders = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
        kind = getattr(transformers, encoders.get(config.get("model_type"), "AutoModel"))
    body = kind.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager",
    ).eval()
    body.config.use_cache = False
    module = Logits(body) if task != "embed" else Vectors(body, folder, graph)
    return module.eval()


class _Dense(nn.Module):
    """A linear layer behind the pooling."""

    def __init__(self, folder, row):
        super().__init__()
        from safetensors.torch import load_file

        weights = load_file(folder / row["path"] / "model.safetensors")
        self.linear = nn.Linear(row["inputs"], row["outputs"], bias=row["bias"])
        self.residual = None
        if row["residual"]:
            same = row["inputs"] == row["outputs"]
            other = nn.Linear(row["inputs"], row["outputs"], bias=False)
            self.residual = nn.Identity() if same else other
        self.load_state_dict({name: value.float() for name, value in weights.items()})
        self._activation = _ACTIVATIONS[row["activation"]]()

    def forward(self, vectors):
        """The layer's output, with its input added where it says so."""
        out = self._activation(self.linear(vectors))
        return out if self.residual is None else out + self.residual(vectors)


def _mean(states, mask):
    return _sum(states, mask) / _count(mask)


def _mean_sqrt(states, mask):
    return _sum(states, mask) / torch.sqrt(_count(mask))


def _weighted(states, mask):
    steps = torch.arange(1, states.shape[1] + 1, dtype=states.dtype)
    return _mean(states, mask * steps)


def _sum(states, mask):
    return (states * mask.unsqueeze(-1).to(states.dtype)).sum(1)


def _count(mask):
    return mask.to(torch.float32).sum(1, keepdim=True).clamp(min=1e-9)


def _max(states, mask):
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def _cls(states, mask):
    return _at(states, mask.argmax(1))


def _last(states, mask):
    steps = torch.arange(states.shape[1]).unsqueeze(0)
    return _at(states, (steps * mask).argmax(1))


def _at(states, index):
    return torch.gather(states, 1, index.view(-1, 1, 1).expand(-1, 1, states.shape[2])).squeeze(1)


_POOLING = {
    "cls": _cls, "mean": _mean, "max": _max, "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted, "lasttoken": _last,
}  # fmt: skip
