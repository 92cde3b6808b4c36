"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec

from trtbuild.signature import ServedTask
from trtbuild.signature.requests import TranscribeAnswer, TranscribeRequest, Transcription
from trtbuild.wire.sound import SoundError, as_wav, is_wav
from trtbuild_gateway.encoding.audio import as_json, as_srt, as_verbose_json, as_vtt
from trtbuild_gateway.failures import invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.http.forms import form_of
from trtbuild_gateway.routes.asking import asked, check_parameters, model_for
from trtbuild_gateway.schema.audio import AudioForm
from trtbuild_gateway.schema.parameters import typed
from trtbuild_gateway.seams import Texts
from trtbuild_gateway.upstream.model import Model

_TEXT = "text/plain; charset=utf-8"


async def transcriptions(context: Context) -> None:
    """Return what is said in a recording."""
    await _answer(context, "transcriptions", "transcribe")


async def translations(context: Context) -> None:
    """Return it in English."""
    await _answer(context, "translations", "translate")


async def _answer(context: Context, endpoint: str, task: str) -> None:
    given = _with_types(await form_of(context.exchange))
    check_parameters(context, endpoint, given)
    form = typed(given, AudioForm).checked()
    model = await model_for(context, form.model, ServedTask.TRANSCRIBE)
    _require_outputs(model, form)
    await context.admit()
    wanted = TranscribeRequest(
        (base64.b64encode(await _wav(form.file, context.gateway.settings.most_bytes)).decode(),),
        language=form.language,
        prompt=await context.call.texts.prompts(form.prompt),
        translate=task == "translate",
        timestamps=form.timed,
    )
    answer = await asked(context, model, wanted, TranscribeAnswer)
    context.outcome.completion_tokens = sum(answer.token_counts)
    await _respond(context, form, checked(answer.results[0], context.call.texts), task)


async def _wav(data: bytes, most_bytes: int) -> bytes:
    """Return the recording as the WAV file that models read, no larger than a body may be."""
    if is_wav(data):
        return data
    _quieten_decoder()
    try:
        # Decoding takes seconds of CPU, and libsndfile releases the GIL.
        return await asyncio.to_thread(as_wav, data, "trtbuild-gateway", most_bytes)
    except SoundError as error:
        raise invalid(str(error), "file", "invalid_audio") from None


@cache
def _quieten_decoder() -> None:
    """Drop what C libraries print on stderr, where the log is; Python's own stderr stays.

    libmpg123 prints lines about every frame of a damaged file, and soundfile cannot tell it not to.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):  # the name is a variable, and may be written to
        library.fopen.restype = ctypes.c_void_p
        if nowhere := library.fopen(b"/dev/null", b"we"):  # none while no file can be opened
            ctypes.c_void_p.in_dll(library, "stderr").value = nowhere


def checked(found: Transcription, texts: Texts) -> Transcription:
    """Return a transcription as it may be sent.

    The segments go through one filter, in their order: what it holds back moves to the next one,
    so that nothing passes because a segment ends in the middle of it.
    """
    whole, parts = texts.answer(), texts.answer()
    if whole is None or parts is None:
        return found
    made = [part._replace(text=parts.feed(part.text)) for part in found.segments]
    if made:
        made[-1] = made[-1]._replace(text=made[-1].text + parts.end())
    return replace(found, text=whole.feed(found.text) + whole.end(), segments=tuple(made))


def _with_types(form: dict[str, Any]) -> dict[str, Any]:
    """Return a form whose numbers, truth values and lists are such."""
    made = dict(form)
    for name in ("temperature", "stream"):
        with contextlib.suppress(msgspec.DecodeError, TypeError):
            made[name] = msgspec.json.decode(made.get(name, ""))
    listed = made.get("timestamp_granularities")
    if isinstance(listed, str):
        made["timestamp_granularities"] = [listed]
    return made


def _require_outputs(model: Model, form: AudioForm) -> None:
    needed = [name for name in ("duration", "segments") if not model.served.has_output(name)]
    if form.timed and needed:
        raise invalid(
            f"the model {model.name!r} sends no {' and no '.join(needed)}: use the "
            "response_format 'json' or 'text'",
            "response_format",
            "unsupported_parameter",
        )


async def _respond(context: Context, form: AudioForm, found: Transcription, task: str) -> None:
    respond = context.exchange.respond
    if form.response_format == "json":
        await respond(as_json(found))
    elif form.response_format == "verbose_json":
        await respond(as_verbose_json(found, task, form.language))
    elif form.response_format == "srt":
        await respond(as_srt(found.segments).encode(), kind=_TEXT)
    elif form.response_format == "vtt":
        await respond(as_vtt(found.segments).encode(), kind=_TEXT)
    else:
        await respond(f"{found.text}\n".encode(), kind=_TEXT)
