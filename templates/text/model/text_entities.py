"""From scores of tokens to entities, by the rules of transformers' token classification pipeline.

``simple`` joins neighbouring tokens of one label; ``first``, ``average`` and ``max`` decide on
whole words before; ``none`` gives every token. A label may begin with ``B-`` or ``I-``.
"""

AGGREGATIONS = ("none", "simple", "first", "average", "max")
_OUTSIDE = "O"


def entities(text, scores, tokens, labels, how):
    """The labelled parts of ``text``, as JSON can hold them.

    Args:
        text: As it was sent.
        scores: A row of label scores for each token.
        tokens: With the place of each token in the text.
        labels: Their names.
        how: One of AGGREGATIONS.
    """
    places = [at for at, special in enumerate(tokens.special_tokens_mask) if not special]
    if how == "none":
        found = [_entity("entity", labels, scores[at], *tokens.offsets[at]) for at in places]
        return [_with_word(text, one) for one in found if one["entity"] != _OUTSIDE]
    words = [[at] for at in places] if how == "simple" else _words(places, tokens.inner)
    found = [
        _entity("entity", labels, *_decided(word, scores, tokens.offsets, how)) for word in words
    ]
    groups = map(_joined, _groups(found))
    return [_with_word(text, one) for one in groups if one["entity_group"] != _OUTSIDE]


def _words(places, inner):
    words = []
    for at in places:
        if words and inner[at]:
            words[-1].append(at)
        else:
            words.append([at])
    return words


def _decided(word, scores, spans, how):
    """The scores of a word, and its place."""
    rows = scores[word]
    chosen = {
        "average": lambda: rows.mean(axis=0),
        "max": lambda: rows[rows.max(axis=1).argmax()],
    }.get(how, lambda: rows[0])()
    return chosen, spans[word[0]][0], spans[word[-1]][1]


def _entity(key, labels, row, start, end):
    best = int(row.argmax())
    return {key: labels[best], "score": float(row[best]), "start": start, "end": end}


def _groups(found):
    """Neighbours of one label; ``B-`` begins a new entity."""
    group = []
    for one in found:
        begins = one["entity"].startswith("B-")
        if group and (begins or _tag(one) != _tag(group[-1])):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _tag(one):
    name = one["entity"]
    return name[2:] if name.startswith(("B-", "I-")) else name


def _joined(group):
    return {
        "entity_group": group[0]["entity"].split("-", 1)[-1],
        "score": sum(one["score"] for one in group) / len(group),
        "start": group[0]["start"],
        "end": group[-1]["end"],
    }


def _with_word(text, one):
    return {**one, "word": text[one["start"] : one["end"]]}
