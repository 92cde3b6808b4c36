"""How well an embedding model or a reranker ranks: a test collection, rankings, measures, gates.

Documents are ranked for each query of a
:class:`~trtbuild_measure.evaluation.collection.Collection` by a target
(:mod:`~trtbuild_measure.evaluation.targets`); ``ir-measures`` compares the rankings with the
collection's judgements; :mod:`~trtbuild_measure.evaluation.result` compares targets query by query.
"""
