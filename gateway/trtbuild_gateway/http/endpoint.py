"""What happens around every endpoint, in this order: count, drain, identify, answer, settle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from trtbuild.errors import ServerError
from trtbuild.signature import ServedTask
from trtbuild.wire.failures import WireError
from trtbuild_gateway.experiments.exposures import Exposure
from trtbuild_gateway.experiments.running import VARIANT, Experiments
from trtbuild_gateway.failures import ApiError, of_exception, unavailable
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.http.exchange import ErrorBody, Exchange, LeftError
from trtbuild_gateway.routing.attempt import may_go_elsewhere
from trtbuild_gateway.seams import SESSION, Admission, Call, Gate, Outcome
from trtbuild_gateway.telemetry import logs
from trtbuild_gateway.telemetry.spans import NO_TRACES, Trace
from trtbuild_gateway.upstream.model import Model

_log = logging.getLogger("trtbuild.gateway")
_FALLBACK, _IGNORED = "x-trtbuild-fallback", "x-trtbuild-ignored"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PARAMETER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_NAMED = 32


@dataclass(slots=True)
class Context:
    """One call while it is being answered.

    Attributes:
        gateway: What answers.
        exchange: The HTTP request and its answer.
        call: What is asked.
        outcome: How it ends.
        trace: What is recorded of it.
        admission: Of the gate, once the call has passed it.
        fallbacks: Models that can still be tried; None before the first has failed.
        experiments: Those that the call may take part in.
        exposure: The variant that answers.
        ignored: Parameters that had no effect.
    """

    gateway: Gateway
    exchange: Exchange
    call: Call
    outcome: Outcome
    trace: Trace
    admission: Admission | None = None
    fallbacks: list[str] | None = None
    experiments: Experiments | None = None
    exposure: Exposure | None = None
    ignored: tuple[str, ...] = ()

    async def body(self) -> dict[str, Any]:
        """Read the body as JSON, see :meth:`Exchange.json`; its model is that of the user's
        variant if the request takes part in an experiment."""
        exchange = self.exchange
        given = await exchange.json()
        if self.experiments is None or self.exposure is not None or self.fallbacks is not None:
            return given
        self.exposure = await self.experiments.expose(
            self.call, exchange.headers, given, self._obstacle, self.sees
        )
        if self.exposure is None:
            return given
        exchange.more_headers[VARIANT] = self.exposure.header
        exchange.given["model"] = self.exposure.model
        return dict(exchange.given)

    async def _obstacle(self, name: str) -> str:
        """Return why a model cannot take part in an experiment; empty if it can."""
        try:
            found = await self.gateway.catalog.find(name)
        except ApiError as error:
            return "" if error.code == "model_not_ready" else "does not exist"
        except WireError:
            return "is on a server that cannot be reached"
        if not self.sees(found.name):
            return "is not allowed for the API key"
        if found.served.task is ServedTask.EMBED:
            return "embeds: an index can only hold the vectors of one model"
        return ""

    async def model(self, name: str) -> Model:
        """Return a model that the caller may use; ApiError 404 if there is none."""
        found = await self.gateway.catalog.find(name, self.sees)
        self.call.model = found.name
        return found

    def sees(self, model: str) -> bool:
        """Whether the caller may use a model."""
        return self.gateway.gate.visible(self.call.caller, model)

    async def admit(self, prompt_tokens: int = 0, max_tokens: int = 0) -> Admission:
        """Pass the gate, once model and size are known; ApiError 403 or 429."""
        self.call.prompt_tokens, self.call.max_tokens = prompt_tokens, max_tokens
        self.admission = await self.gateway.gate.admit(self.call)
        self.exchange.more_headers |= self.admission.headers
        return self.admission

    async def fall_back(self, error: Exception) -> bool:
        """Turn to the next fallback of the model that was asked for; whether there is one.

        Only models that make text have any: the vectors of another model would look right and be
        wrong.
        """
        answer = of_exception(error)
        if not may_go_elsewhere(answer):
            return False
        name = self.call.model or str(self.exchange.given.get("model"))
        if self.fallbacks is None:
            own = self.gateway.settings.models.get(name)
            self.fallbacks = list(own.fallbacks) if own else []
        while self.fallbacks:
            other = self.fallbacks.pop(0)
            if await self._can_answer(other):
                _log.warning("request %s: %r answers for %r: %s", self.call.id, other, name, error)
                await self._begin_again(other, answer.code or answer.type)
                self.gateway.metrics.fell_back(name, other)
                return True
        return False

    async def _can_answer(self, name: str) -> bool:
        try:
            found = await self.gateway.catalog.find(name, self.sees)
        except (WireError, ApiError):
            return False
        return found.served.task.makes_text

    async def _begin_again(self, name: str, error: str) -> None:
        """Ask for another model, as if the client had."""
        admission, self.admission = self.admission, None
        if admission is not None:
            await admission.settle(Outcome(status=503))
        self.trace.failed(error)
        self.outcome, self.call.model = Outcome(), ""
        self.exchange.given["model"] = name
        self.exchange.more_headers[_FALLBACK] = name
        self.exchange.more_headers.pop(_IGNORED, None)
        self.ignored = ()

    @property
    def drops(self) -> bool:
        """Whether a parameter that cannot be honoured is dropped; refused otherwise."""
        return self.gateway.settings.on_unsupported == "drop"

    def note_ignored(self, names: tuple[str, ...]) -> None:
        """Name parameters that had no effect in the answer's headers, as far as one holds them."""
        self.ignored = tuple(dict.fromkeys((*self.ignored, *names)))
        fit = [name for name in self.ignored if _PARAMETER.fullmatch(name)][:_MOST_NAMED]
        more = len(self.ignored) - len(fit)
        told = [*fit, *([f"and {more} more"] if more else [])]
        if told:
            self.exchange.more_headers[_IGNORED] = ", ".join(told)

    def upstream_headers(self) -> dict[str, str]:
        """Return the headers for the server: the trace, and the request id."""
        passed = self.trace.upstream(self.call)
        session = {SESSION: self.session} if self.session else {}
        return {**passed, **session, "x-request-id": self.call.id}

    @property
    def session(self) -> str:
        """What keeps requests on one server: the client's session, its user, or the caller."""
        body = self.exchange.given
        metadata = body.get("metadata")
        user = metadata.get("user_id") if isinstance(metadata, dict) else None  # Anthropic's
        given = self.exchange.headers.get(SESSION) or body.get("prompt_cache_key")
        return str(given or body.get("user") or user or self.call.caller.id)


Handler = Callable[[Context], Awaitable[None]]


class Endpoint:
    """An ASGI application for one route.

    Args:
        gateway: What it serves.
        path: The route, for metrics and logs.
        handler: Answers a call.
        quiet: Neither counted nor refused while the gateway drains: health and metrics.
        error_body: The form of its errors.
        gate: Access control, if not the gateway's.
    """

    def __init__(
        self,
        gateway: Gateway,
        path: str,
        handler: Handler,
        *,
        quiet: bool = False,
        error_body: ErrorBody = ApiError.body,
        gate: Gate | None = None,
    ) -> None:
        self._gateway = gateway
        self._path = path
        self._handler = handler
        self._quiet = quiet
        self._error_body = error_body
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        settings = self._gateway.settings
        exchange = Exchange(
            scope, receive, send, most_bytes=settings.most_bytes, seconds=settings.body_seconds
        )
        exchange.error_body = self._error_body
        given = exchange.headers.get("x-request-id", "")
        id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        exchange.more_headers["x-request-id"] = id
        call = Call(id, self._path, started=time.monotonic())
        traces = NO_TRACES if self._quiet else self._gateway.traces
        trace = traces.begin(scope["method"], scope["path"], call, exchange.headers)
        call.trace_id = trace.id
        context = Context(self._gateway, exchange, call, Outcome(), trace)
        if self._gate is None:  # a batch asks for the model whose answers it wants
            context.experiments = self._gateway.experiments
        with logs.about(call):
            await self._counted(context)

    async def _counted(self, context: Context) -> None:
        """Answer, count and log."""
        if self._quiet:
            await self._answer(context)
            return
        self._gateway.metrics.begin()
        try:
            await self._answer(context)
        finally:
            call, outcome = context.call, context.outcome
            outcome.ended = time.monotonic()
            self._gateway.metrics.end(call, outcome, call.model)
            self._gateway.gate.ended(call, outcome)
            if context.experiments is not None and context.exposure is not None:
                fallback = context.exchange.more_headers.get(_FALLBACK, "")
                context.experiments.ended(context.exposure, call, outcome, fallback)
            context.trace.end(call, outcome)
            logs.ended(call, outcome)

    async def _answer(self, context: Context) -> None:
        try:
            if self._gateway.draining and not self._quiet:
                raise unavailable("the gateway is shutting down", "shutting_down")
            call = context.call
            gate = self._gate or self._gateway.gate
            call.caller = await gate.identify(context.exchange.headers, call)
            await self._handled(context)
            context.outcome.status = context.exchange.status
        except LeftError:
            context.outcome.status, context.outcome.error = 499, "client_left"
        except asyncio.CancelledError:
            context.outcome.error = "cut"
            if not context.exchange.begun:
                context.outcome.status = 500  # the HTTP server's answer
            raise
        except Exception as error:
            answer = failed(error, context)
            with contextlib.suppress(LeftError):
                await context.exchange.fail(answer)
        finally:
            if context.admission is not None:
                await context.admission.settle(context.outcome)

    async def _handled(self, context: Context) -> None:
        """Answer; with a fallback if the model that was asked for cannot."""
        while True:
            try:
                await self._handler(context)
                return
            except (WireError, ServerError, ApiError) as error:
                if context.exchange.spoken or not await context.fall_back(error):
                    raise


def failed(error: Exception, context: Context) -> ApiError:
    """Return the answer to an error, and note it in log and outcome."""
    answer = of_exception(error, context.call.model)
    outcome = context.outcome
    outcome.error = answer.code or answer.type
    if not context.exchange.begun:
        outcome.status = answer.status
    if answer.code == "internal_error":
        _log.error("request %s failed", context.call.id, exc_info=error)
    elif answer.status >= 500:
        _log.warning("request %s: %s: %s", context.call.id, answer.status, answer.message)
    return answer
