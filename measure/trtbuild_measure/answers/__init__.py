"""What a served model answers: the same as before (golden), to a paraphrase, to a changed name.

:mod:`~trtbuild_measure.answers.prompts` reads what to ask;
:mod:`~trtbuild_measure.answers.asking` asks an endpoint with OpenAI's API or a model of Triton.
"""
