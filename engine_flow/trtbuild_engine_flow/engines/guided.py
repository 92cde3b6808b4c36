"""The tokenizer file for guided decoding in TensorRT-LLM's C++, as its own tool writes it.

The C++ backend does not read a tokenizer. It reads a JSON file such as TensorRT-LLM's
``examples/generate_xgrammar_tokenizer_info.py`` writes with torch and a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from trtbuild.checkpoint import Checkpoint


def tokenizer_info(checkpoint: Checkpoint, stop_token_ids: Sequence[int]) -> bytes:
    """The vocabulary in the order of its ids, the tokenizer, and the ids that end a text.

    ``checkpoint`` has a tokenizer.json, which was loaded when the conversion began.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(checkpoint.read_bytes("tokenizer.json") or b"")
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    document = {
        "encoded_vocab": sorted(vocabulary, key=vocabulary.__getitem__),
        "tokenizer_str": tokenizer.to_str(),
        "stop_token_ids": list(stop_token_ids),
    }
    return json.dumps(document).encode()
