"""Notices that the server has given the model up without ending it.

Triton 24.10 now and then does not let go of a model that is unloaded after streams were cancelled:
it is no longer ready, and ``finalize`` is never called. Its engine would keep the GPU's memory
until the server ends.
"""

import threading
import time

_LOOK_SECONDS = 2.0
# An unload calls ``finalize`` within about a second of the model's last answer.
_GRACE_SECONDS = 10.0


class Served:
    """Asks the server whether the model is ready, while it has nothing to do.

    ``is_ready`` asks; ``is_idle`` says whether no request is open; ``on_given_up`` is called once,
    from a thread of its own.
    """

    def __init__(self, is_ready, is_idle, on_given_up):
        self._is_ready = is_ready
        self._is_idle = is_idle
        self._on_given_up = on_given_up
        self._ended = threading.Event()
        self._thread = None

    def begin(self):
        """Begin to ask, with the first request: a server that is asked while it initializes the
        model ends itself."""
        if self._thread is None:
            # It may hang in the server, which must not keep the process.
            self._thread = threading.Thread(target=self._watch, name="vllm-served", daemon=True)
            self._thread.start()

    def end(self):
        """Ask no more: the model is being finalized."""
        self._ended.set()

    def _watch(self):
        since = None
        while not self._ended.wait(_LOOK_SECONDS):
            if not self._is_idle() or self._asked():
                since = None
                continue
            since = since or time.monotonic()
            if time.monotonic() - since >= _GRACE_SECONDS and not self._ended.is_set():
                self._on_given_up()
                return

    def _asked(self):
        """Whether the server calls the model ready; yes when it does not say."""
        try:
            return self._is_ready()
        except Exception:
            return True
