"""What guided decoding in TensorRT-LLM's C++ must know of a tokenizer, as its own tool tells it.

The C++ backend does not read a tokenizer. It takes a JSON file, as TensorRT-LLM's
``examples/generate_xgrammar_tokenizer_info.py`` makes with torch and a GPU at hand.
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
