"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``: the forms."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trtbuild_gateway.failures import invalid

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]


class AudioForm(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of both."""

    file: bytes
    model: Annotated[str, Meta(min_length=1)]
    prompt: str = ""
    response_format: Format = "json"
    language: str = ""
    timestamp_granularities: list[Literal["segment"]] = []

    def checked(self) -> AudioForm:
        """Return the form; ApiError for word timestamps, which no model sends."""
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise invalid(
                "'timestamp_granularities' needs the response_format 'verbose_json'",
                "timestamp_granularities",
            )
        return self

    @property
    def timed(self) -> bool:
        """Whether the answer has segments with their times."""
        return self.response_format in ("srt", "vtt", "verbose_json")
