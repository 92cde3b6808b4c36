"""Split a model's text into reasoning, content and tool calls while it arrives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from trtbuild_gateway.parsing.answer import Answer
from trtbuild_gateway.parsing.coerce import Tools
from trtbuild_gateway.parsing.decode import decode, dump
from trtbuild_gateway.parsing.events import Ended, Event
from trtbuild_gateway.parsing.family import Family, Region
from trtbuild_gateway.parsing.scan import CallScan, Found

_log = logging.getLogger("trtbuild.gateway")  # whose messages are masked
_SPACE = " \t\r\n"
_LONGEST_GAP = 256  # characters of white space before a bare call or a trailing marker
_LONGEST_HEADER = 2048
_MARKER = 3  # a cut answer that ends in so much of a marker was cut inside it
_SECOND_LOOKS = 8  # texts after doubtful ends that are parsed again, at the end of an answer


class FamilyParser:
    """Parses the text of one answer in the format of a family.

    A region that ends but is not a valid call becomes content. One that never ends becomes content
    if the model stopped by itself, and is dropped if the answer was cut: half a command is none.

    Args:
        family: The format.
        prompt: The rendered prompt, which may already have opened the reasoning.
        tools: The tools of the request, for the types of arguments.
        calls: Whether calls are wanted; without, their text is content.
        parallel: Whether more than one call may be returned.
        new_id: Makes the id of a call that the model gave none.

    Attributes:
        steps: Characters looked at, to prove that the time is linear.
        failed: Whether an error of the parser's own was met, which turns parsing off.
    """

    def __init__(
        self,
        family: Family,
        *,
        prompt: str = "",
        tools: Iterable[Mapping[str, Any]] = (),
        calls: bool = True,
        parallel: bool = True,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.family = family
        self.steps = 0
        self.failed = False
        self._tools = Tools(tools)
        self._wanted = calls
        self._new_answer = partial(Answer, family, parallel=parallel, new_id=new_id)
        self._begin()
        self._prime(prompt)

    def _begin(self) -> None:
        self._answer = self._new_answer()
        self._step = self._header if self.family.header_end else self._text
        self._region: Region | None = None
        self._section: tuple[Region, list[str], int] | None = None
        self._scan: CallScan | None = None
        self._held = ""
        self._fresh = True
        self._view = self.family.view(None, calls=self._wanted)

    def _prime(self, prompt: str) -> None:
        """Read what the chat template already wrote of the answer."""
        ends = [at + len(a) for a in self.family.anchors if (at := prompt.rfind(a)) >= 0]
        if not ends or max(ends) == len(prompt):
            return
        self._run(prompt[max(ends) :])
        state = self._step, self._region, self._section, self._held, self._scan, self._view
        edge = self._answer.reasoning.edge
        self._begin()
        self._step, self._region, self._section, self._held, self._scan, self._view = state
        self._answer.reasoning.edge = edge

    def feed(self, text: str) -> list[Event]:
        """Take more text."""
        try:
            self._run(text)
        except Exception:  # the client gets the text, and we learn of the error
            _log.exception(
                "the parser %s failed; the rest of the answer is plain", self.family.name
            )
            self._give_up(text)
        return self._answer.take()

    def _run(self, text: str) -> None:
        while text:
            text = self._step(text)

    def _look(self, inside: Region | None) -> None:
        self._view = self.family.view(inside, calls=self._wanted)

    def _give_up(self, text: str) -> None:
        """Pass everything on as content from here."""
        unsaid = self._scan.text if self._scan is not None else self._held
        self.failed = True
        self._scan = self._region = self._section = None
        self._held = ""
        self._step = self._plain
        self._answer.content.add(unsaid + text)

    def _fail(self) -> None:
        """Note an error of the parser's own, in an ``except`` clause."""
        self.failed = True
        _log.exception("an error in the parser %s: its text is passed on", self.family.name)

    def _plain(self, text: str) -> str:
        self._answer.content.add(text)
        return ""

    # Outside calls

    def _text(self, text: str) -> str:
        text, self._held = self._held + text, ""
        if self._fresh and self._region is None and self._view.bare:
            rest = text.lstrip(_SPACE + (",;" if self._answer.calls else ""))
            if not rest and len(text) < _LONGEST_GAP:
                self._held = text
                return ""
            if region := self._view.bare.get(rest[:1]):
                return self._open_call(region, "", rest)
        self.steps += len(text)
        found = self._view.watch.search(text)
        if found is None:
            cut = self._view.watch.cut(text)
            self._add(text[:cut])
            self._held = text[cut:]
            return ""
        self._add(text[: found.start()])
        return self._marker(found.group(), text[found.end() :])

    def _add(self, text: str) -> None:
        if not text:
            return
        self._fresh = self._fresh and not text.strip(_SPACE)
        if self._region is not None and self._region.kind == "drop":
            return
        if self._region is not None and self._region.kind == "reasoning":
            self._answer.reasoning.add(text)
        elif self._section is not None:
            self._section[1].append(text)
        else:
            self._answer.content.add(text)

    def _marker(self, literal: str, rest: str) -> str:
        view = self._view
        if literal in view.until:
            self._close_text()
            return literal + rest
        if literal in view.closes:
            self._close_section(literal) if self._section else self._close_text()
        elif region := view.opens.get(literal):
            return self._open(region, literal, rest)
        elif self._section is None:
            self._answer.content.border()
            self._fresh = self._fresh or literal in view.restart
        return rest

    def _open(self, region: Region, literal: str, rest: str) -> str:
        if region.kind == "call":
            return self._open_call(region, literal, rest)
        if region.kind == "section":
            self._section = (region, [literal], len(self._answer.calls))
        else:
            self._region = region
            self._answer.border()
        self._look(region)
        return rest

    def _close_text(self) -> None:
        if self._region is not None and self._region.kind != "content":
            self._answer.border()
        self._region = None
        self._look(None)
        self._step = self._header if self.family.header_end else self._text

    def _close_section(self, literal: str) -> None:
        if self._section is None:
            return
        (_, parts, before), self._section = self._section, None
        self._look(None)
        if len(self._answer.calls) == before and "".join(parts[1:]).strip():
            self._answer.content.add("".join([*parts, literal]))
        else:
            self._answer.content.border()

    # Headers

    def _header(self, text: str) -> str:
        text, self._held = self._held + text, ""
        self.steps += len(text)
        end, abort = text.find(self.family.header_end), text.find(self.family.header_abort)
        if 0 <= abort < end or (abort >= 0 and end < 0):
            return text[abort + len(self.family.header_abort) :]
        if end >= 0:
            cut = end + len(self.family.header_end)
            return self._headed(text[:cut], text[cut:])
        if len(text) < _LONGEST_HEADER:
            self._held = text
            return ""
        self._step = self._text
        self._add(text)
        return ""

    def _headed(self, header: str, rest: str) -> str:
        for region in self.family.regions:
            if region.header is None or region.header.search(header) is None:
                continue
            if region.kind == "call" and self._wanted:
                return self._open_call(region, header, rest)
            self._step = self._text
            self._region = region
            self._look(region)
            return rest
        return rest

    # Calls

    def _open_call(self, region: Region, literal: str, rest: str) -> str:
        self._scan = CallScan(region, literal)
        self._step = self._call
        return rest

    def _call(self, text: str) -> str:
        scan = self._scan
        if scan is None:
            return text
        if scan.hopeless(text):
            self._leave()
            raw = scan.text
            if not scan.region.bare or raw:
                self._add(scan.opened)
            return raw[len(scan.opened) :] + text
        found = scan.feed(text)
        if found is None:
            return ""
        self.steps += scan.steps
        self._leave()
        self._conclude(scan.region, found)
        return found.rest

    def _conclude(self, region: Region, found: Found) -> None:
        if not self._accept(region, found.raw):
            self._add(found.raw + found.close)
        elif region.tail:
            self._step = self._tail

    def _leave(self) -> None:
        """Go back to where the call began."""
        region = self._scan.region if self._scan else None
        self._scan = None
        self._fresh = False
        headed = region is not None and region.header is not None
        self._step = self._header if headed else self._text
        self._look(self._section[0] if self._section else None)

    def _accept(self, region: Region, raw: str) -> bool:
        """Report the calls of a region; return False if it holds none."""
        try:
            calls = [(call, dump(call.arguments)) for call in decode(raw, region, self._tools)]
        except (ValueError, RecursionError):
            return False
        except Exception:
            self._fail()
            return False
        self._answer.content.border()
        self._fresh = True
        for call, arguments in calls:
            self._answer.add_call(call, arguments)
        return True

    def _tail(self, text: str) -> str:
        """Drop a marker that may follow a call."""
        text, self._held = self._held + text, ""
        rest = text.lstrip(_SPACE)
        for literal in self._tails:
            if rest.startswith(literal):
                self._step = self._text
                return rest[len(literal) :]
            if literal.startswith(rest) and len(text) < _LONGEST_GAP:
                self._held = text
                return ""
        self._step = self._text
        return text

    @property
    def _tails(self) -> Sequence[str]:
        return [literal for region in self.family.regions for literal in region.tail]

    # The end

    def finish(self, reason: str = "stop") -> Ended:
        """Return the rest and the whole answer."""
        try:
            self._end(cut=reason == "length")
        except Exception:
            self._give_up("")
        return Ended(self._answer.take(), self._answer.message(reason))

    def _end(self, *, cut: bool) -> None:
        for _ in range(_SECOND_LOOKS):
            found = self._end_call(cut=cut)
            if found is None:
                break
            self._run(found.rest)
        else:
            if self._scan is not None:
                self._answer.content.add(self._scan.text)
        self._end_text(cut=cut)

    def _end_call(self, *, cut: bool) -> Found | None:
        """End an open call; return what is left to parse."""
        scan = self._scan
        if scan is None:
            return None
        found = None if cut else scan.finish()
        raw = scan.text
        self._leave()
        if found is not None:
            self._conclude(scan.region, found)
            return found
        if cut and not scan.region.bare:
            return None
        if not (scan.region.at_end and not cut and self._accept(scan.region, raw)):
            self._add(raw)
        return None

    def _end_text(self, *, cut: bool) -> None:
        held, self._held = self._held, ""
        if self._step == self._header:
            markup = any(held.lstrip(_SPACE).startswith(one) for one in self.family.anchors)
            held = "" if cut or markup else held
        elif cut and len(held.strip(_SPACE)) >= _MARKER:
            held = ""
        if self._step != self._tail:
            self._add(held)
        if not cut:  # what a cut section holds is not content
            self._close_section("")
        self._answer.flush()
