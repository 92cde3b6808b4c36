"""Names of OpenTelemetry's semantic conventions, in one place: GenAI's have no stable release.

Those of GenAI are of version 1.41.1, the last that had them; they have moved to the repository
open-telemetry/semantic-conventions-genai, which has had no release until 2026-11-29. All have the
status *Development*: names may change, and so may ours with them.
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""The operation by endpoint. The conventions have none for other tasks."""

METHOD = "http.request.method"
ROUTE = "http.route"
PATH = "url.path"
SCHEME = "url.scheme"
STATUS = "http.response.status_code"
REQUEST_ID = "http.response.header.x-request-id"
ERROR = "error.type"

REQUEST_SECONDS = "gen_ai_server_request_duration_seconds"
FIRST_TOKEN_SECONDS = "gen_ai_server_time_to_first_token_seconds"  # noqa: S105
PER_TOKEN_SECONDS = "gen_ai_server_time_per_output_token_seconds"  # noqa: S105
"""Metrics as Prometheus has them: underscores for dots, and the unit."""
