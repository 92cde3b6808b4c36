"""What limited a load, derived from the client, the server and the latencies."""

from __future__ import annotations

from trtbuild_measure.bench.model import Json

_QUEUE_SHARE = 0.3  # share of the end-to-end time spent waiting
_CLIENT_SHARE = 0.05
_OPENING = 0.5  # of how late a request left
_BEFORE_FIRST = 0.5
_BUSY = 0.9
_OTHERS = 0.2  # of the machine's cores


def limited_by(load: Json) -> Json:
    """``{"what": client|connect|others|queue|gpu|cpu|unknown, "why": …}`` of one load's result.

    The client is checked first, because every measurement passes through it.
    """
    client = load["client"]
    if client["saturated"]:
        return {
            "what": "client",
            "why": f"the client used {client['cpu_share']:.0%} of a core or came late to its "
            "timers: figures are of the client as much as of the server",
        }
    if client["waited_for_connection"]:
        return {"what": "client", "why": no_connection(client["waited_for_connection"])}
    e2e, queue = load["metrics"]["e2e_ms"], load["metrics"]["client_queue_ms"]
    if e2e and queue and queue["p95"] > max(_CLIENT_SHARE * e2e["p50"], 5.0):
        opening = client["opening_ms"] or 0.0
        if opening > _OPENING * queue["p95"]:
            return {
                "what": "connect",
                "why": f"one of 20 requests waited {opening:.1f} ms or longer for a connection to "
                "open: the server accepts late, closes each one after its answer, or is far away",
            }
        return {
            "what": "client",
            "why": f"one of 20 requests left {queue['p95']:.1f} ms late or later",
        }
    return _others(load) or _server(load)


def no_connection(requests: int) -> str:
    """Return a sentence if requests found every connection in use."""
    return (
        f"{requests} requests waited because all connections that this process may open were in "
        "use: allow more files (`ulimit -n`), or send less"
    )


def _others(load: Json) -> Json | None:
    """Report other load on the same cores, if the server's own is known."""
    server = load["server"]
    if "cpu_cores" not in server or "machine_cores" not in server:
        return None
    own = server["cpu_cores"]["mean"] + load["client"]["cpu_share"]
    others = server["machine_cores"]["mean"] - own
    if others < _OTHERS * server["cores"]:
        return None
    return {
        "what": "others",
        "why": f"other programs used {others:.1f} of {server['cores']} cores: measure again",
    }


def _server(load: Json) -> Json:
    server, e2e = load["server"], load["metrics"]["e2e_ms"]
    waiting = server.get("waiting", {}).get("mean", 0.0)
    running = server.get("running", {}).get("mean", 0.0)
    queued = server.get("triton_queue_ms", 0.0)
    if waiting > _QUEUE_SHARE * max(running, 1.0):
        return {
            "what": "queue",
            "why": f"{waiting:.1f} requests waited in the engine beside {running:.1f} that ran",
        }
    if e2e and queued > _QUEUE_SHARE * e2e["mean"]:
        return {
            "what": "queue",
            "why": f"{queued:.0f} ms of {e2e['mean']:.0f} ms passed in Triton's queue",
        }
    if (gpu := server.get("gpu_utilization", {}).get("mean", 0.0)) > _BUSY:
        return {"what": "gpu", "why": f"the GPU was busy {gpu:.0%} of the time"}
    cores, count = server.get("cpu_cores", {}).get("mean", 0.0), server.get("cores", 0)
    waited = _waiting(load)
    if cores and count and cores > _BUSY * count * 0.8:
        why = f"the server used {cores:.1f} of {count} cores"
        return {"what": "cpu", "why": f"{why}; {waited['why']}" if waited else why}
    return waited or {
        "what": "unknown",
        "why": "nothing that was watched was at its limit",
    }


def _waiting(load: Json) -> Json | None:
    """Infer a queue that the server does not report: most of the time is before the first token."""
    ttft, e2e = load["metrics"]["ttft_ms"], load["metrics"]["e2e_ms"]
    if not ttft or ttft["p50"] < _BEFORE_FIRST * e2e["p50"]:
        return None
    return {
        "what": "queue",
        "why": f"{ttft['p50']:.0f} of {e2e['p50']:.0f} ms pass before the first token: requests "
        "wait for others, or for their prompt to be read",
    }
