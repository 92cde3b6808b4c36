"""A checkpoint in PyTorch: its body, pooling, dense layers and normalization in one module.

The export to ONNX and the served model of the builder torch both run this.
"""

import inspect
import json
from pathlib import Path

import torch
from torch import nn

_ACTIVATIONS = {
    "identity": nn.Identity, "tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid, "silu": nn.SiLU,
}  # fmt: skip


class Head(nn.Module):
    """A body with what follows it; ``output`` names what it computes of a padded batch."""

    output = "logits"

    def __init__(self, body, folder, graph):
        super().__init__()
        self.body, self.config, self.graph = body, body.config, graph
        self.dense = nn.ModuleList(_Dense(Path(folder), one) for one in graph["dense"])

    def forward(self, **inputs):
        """The output by its name."""
        pooling_mask = inputs.pop("pooling_mask", inputs.get("attention_mask"))
        return {self.output: self.compute(self.body(**inputs), pooling_mask)}

    def compute(self, found, mask):  # noqa: ARG002
        """The numbers of a classifier before its activation: of texts, tokens or images."""
        return found.logits

    def _layered(self, vectors):
        for layer in self.dense:
            vectors = layer(vectors)
        return vectors


class Vectors(Head):
    """A vector for each text, or the scores that dense layers make of it."""

    output = "embeddings"

    def compute(self, found, mask):
        """Pooling, dense layers, normalization."""
        states = found.last_hidden_state
        pooled = [_POOLING[mode](states, mask) for mode in self.graph["pooling"]]
        vectors = self._layered(torch.cat(pooled, dim=1))
        return nn.functional.normalize(vectors, p=2, dim=1) if self.graph["normalize"] else vectors


class Modular(Vectors):
    """The scores of a cross-encoder that is a body and sentence-transformers' modules."""

    output = "logits"


class Sparse(Head):
    """A weight for each word of the vocabulary."""

    output = "sparse_embeddings"

    def compute(self, found, mask):
        """The maximum or sum over all tokens of log(1 + relu(logits))."""
        weights = torch.log1p(torch.relu(found.logits * mask.unsqueeze(-1).to(torch.float32)))
        if self.graph["activation"] == "log1p_relu":
            weights = torch.log1p(weights)
        return weights.sum(1) if self.graph["pooling"] == ["sum"] else weights.amax(1)


class TokenVectors(Head):
    """A vector for each token."""

    output = "token_embeddings"

    def compute(self, found, mask):  # noqa: ARG002
        """Dense layers and normalization."""
        vectors = self._layered(found.last_hidden_state)
        return nn.functional.normalize(vectors, p=2, dim=2) if self.graph["normalize"] else vectors


class Words(Head):
    """The score of a reranker that generates: the logit of one word, or the difference of two.

    Of the output layer these rows alone remain, and of the tokens the last.
    """

    def __init__(self, body, folder, graph):
        super().__init__(body.base_model, folder, graph)
        rows = body.get_output_embeddings()
        ids = graph["score_tokens"]
        if rows.bias is not None:
            raise SystemExit("ERROR: the output layer has a bias, which the export does not read")
        weight = rows.weight[ids[0]] - (rows.weight[ids[1]] if len(ids) > 1 else 0)
        self.score = nn.Parameter(weight.detach().clone().unsqueeze(1), requires_grad=False)

    def compute(self, found, mask):
        """One logit."""
        return _last(found.last_hidden_state, mask) @ self.score


_KINDS = {
    "dense": ("AutoModel", Vectors), "sparse": ("AutoModelForMaskedLM", Sparse),
    "multi-vector": ("AutoModel", TokenVectors),
    "token-labels": ("AutoModelForTokenClassification", Head),
    "image-labels": ("AutoModelForImageClassification", Head),
}  # fmt: skip
_SCORES = ("AutoModelForSequenceClassification", Head)
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}


def load(folder, head, graph, dtype=torch.float32, attention="eager"):
    """The module of a checkpoint, from safetensors alone and without its code."""
    import transformers

    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    name, kind = _KINDS.get(head, _SCORES)
    if graph["score_words"]:
        name, kind = "AutoModelForCausalLM", Words
        ids = graph["score_tokens"] or word_tokens(folder, graph["score_words"])
        graph = {**graph, "score_tokens": ids}
    elif head in ("score", "labels") and graph["modular"]:
        name, kind = "AutoModel", Modular
    if name == "AutoModel":
        name = _ENCODERS.get(config.get("model_type"), name)
    body = (
        getattr(transformers, name)
        .from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=attention,
        )
        .eval()
    )
    body.config.use_cache = False
    return kind(body, folder, graph).eval()


def word_tokens(folder, words):
    """The ids of words that decide, each of which is one token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    ids = tokenizer.convert_tokens_to_ids(list(words))
    if None in ids or tokenizer.unk_token_id in ids:
        raise SystemExit(f"ERROR: the tokenizer has no tokens for {' and '.join(words)}")
    return ids


def inputs(folder, module, settings):
    """Names of the graph's inputs.

    With types of tokens where the reference's tokenizer gives them and the body takes them. A
    vector's text has one type alone, which a body takes without being told.
    """
    from transformers import AutoTokenizer

    names = list(settings["inputs"])
    if settings["head"] not in ("score", "labels", "token-labels") or settings["pair_template"]:
        return names
    given = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).model_input_names
    taken = inspect.signature(module.body.forward).parameters
    types = "token_type_ids"
    return [*names, types] if types in given and types in taken else names


class _Dense(nn.Module):
    """A linear layer behind the pooling."""

    def __init__(self, folder, row):
        super().__init__()
        from safetensors.torch import load_file

        found = load_file(folder / row["path"] / "model.safetensors")
        # Beside the body's weights in a ColBERT checkpoint of Stanford's.
        weights = {name: found[name] for name in found if name.startswith(("linear.", "residual."))}
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
    steps = torch.arange(1, states.shape[1] + 1, dtype=states.dtype, device=states.device)
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
    steps = torch.arange(states.shape[1], device=states.device).unsqueeze(0)
    return _at(states, (steps * mask).argmax(1))


def _at(states, index):
    return torch.gather(states, 1, index.view(-1, 1, 1).expand(-1, 1, states.shape[2])).squeeze(1)


_POOLING = {
    "cls": _cls, "mean": _mean, "max": _max, "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted, "lasttoken": _last,
}  # fmt: skip
