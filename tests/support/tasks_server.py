"""A repository of light models, one for each task, and an LLM."""

from __future__ import annotations

from pathlib import Path

from support.live_models import write_llm

MODEL = Path(__file__).with_name("fake_tasks.py")
PLAYED = Path(__file__).with_name("fake_played.py")
MODELS = {
    "embedder": ("text: STRING", "embeddings: FP32 -1, token_count: INT32"),
    "reranker": ("query: STRING, passage: STRING", "logit: FP32"),
    "classifier": ("text: STRING, text_pair: STRING optional", "scores: FP32 2, label: STRING"),
    "splade": ("text: STRING", "indices: INT32 -1, values: FP32 -1"),
    "colbert": ("text: STRING", "token_embeddings: FP32 -1,2, vector_count: INT32"),
    "scorer": ("text: STRING, text_pair: STRING", "score: FP32"),
    "ner": ("text: STRING", "entities: STRING"),
    "pictures": ("image: STRING", "scores: FP32 2, label: STRING"),
    "speech": ("audio: STRING", "text: STRING"),
}


def config(inputs: str, outputs: str) -> str:
    """A config.pbtxt; a row is ``name: TYPE`` with a size or ``optional``."""
    lines = ['backend: "python"', "max_batch_size: 2"]
    for kind, rows in (("input", inputs), ("output", outputs)):
        for row in rows.split(", "):
            name, _, rest = row.partition(": ")
            datatype, _, more = rest.partition(" ")
            size = more if more.replace(",", "").lstrip("-").isdigit() else "1"
            optional = " optional: true" if more == "optional" else ""
            lines.append(
                f'{kind} {{ name: "{name}" data_type: TYPE_{datatype} dims: [{size}]{optional} }}'
            )
    lines.append("instance_group [ { count: 1 kind: KIND_CPU } ]")
    return "\n".join(lines)


def write_tasks(repository: Path) -> None:
    """Write the models; ``letters`` streams letters, ``played`` the pieces in its prompt."""
    for name, (inputs, outputs) in MODELS.items():
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_bytes(MODEL.read_bytes())
        (version.parent / "config.pbtxt").write_text(config(inputs, outputs))
    write_llm(repository, "letters")
    write_llm(repository, "played")
    config_of_played = repository / "played" / "config.pbtxt"
    output = 'output [ {{ name: "{}" data_type: TYPE_STRING dims: [ 1 ] }} ]\n'
    config_of_played.write_text(config_of_played.read_text() + output.format("finish_reason"))
    (repository / "played/1/model.py").write_bytes(PLAYED.read_bytes())
