"""Exit 0 while every model of the server works, 1 when one is dead or hung. Standard library only.

    python3 probe.py startup|live|ready [--config /etc/trtbuild/probe.json] [--url URL]

Each model gets its cheapest request, such as one token. An answer proves that it works, and an
error that it does not. Without an answer in time it is busy or hung: it is busy while the counter
of its work moves, during this call or since the last one. A full queue is busy, too. The server's
own /v2/health routes and its readiness of a model stay 200 over a hung engine.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

FULL = ("maximum queue size", "queue is full")
PAUSE = 0.3  # between two looks at the counters
# The server is beside the probe; a proxy in the environment is for what the server fetches.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, request, seconds):
    """What is wrong with a model: empty when it answers, None when it does not in time."""
    body = json.dumps(request["body"]).encode() if request["body"] else None
    call = urllib.request.Request(url + request["path"], data=body)
    call.add_header("Content-Type", "application/json")
    try:
        with DIRECT.open(call, timeout=seconds) as response:
            return verdict(response, streams=request["path"].endswith("_stream"))
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode("utf-8", "replace")
        return "" if any(words in said for words in FULL) else f"status {error.code}: {said}"
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, TimeoutError) else str(error.reason)
    except TimeoutError:
        return None
    except (OSError, ValueError) as error:
        return str(error)


def verdict(response, streams):
    if not streams:
        response.read()
        return ""
    for line in response:
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("data:"):
            event = json.loads(text[5:])
            return str(event["error"]) if "error" in event else ""
    return "the stream ended without an answer"


def counters(config):
    """The counters of work by name and model; empty when the metrics cannot be read."""
    wanted = {request["progress"] for request in config["requests"]} - {""}
    if not wanted:
        return {}
    try:
        with DIRECT.open(config["metrics"], timeout=1) as response:
            page = response.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError):
        return {}
    found = {}
    for name, labels, value in re.findall(r"(?m)^([\w:]+)\{([^}]*)\} (\S+)", page):
        model = re.search(r'(?:^|,)model="([^"]*)"', labels)
        if name in wanted and model:
            series = name + " " + model[1]
            found[series] = found.get(series, 0.0) + float(value)
    return found


def moved(request, before, after):
    """Whether the model's counter moved; of a model without one of its own, whether any did."""
    own, kind = request["progress"] + " " + request["model"], request["progress"] + " "
    series = [own] if own in after else [name for name in after if name.startswith(kind)]
    return any(after[name] > before[name] for name in series if name in before)


def is_busy(request, config, seen, until):
    """Whether work goes on although the request got no answer."""
    while request["progress"]:
        now = counters(config)
        if any(moved(request, before, now) for before in seen):
            return True
        if time.monotonic() > until:
            break
        time.sleep(PAUSE)
    return False


def check(request, config, seen, problems):
    seconds = config["timeout"]
    problem = ask(config["url"], request, seconds)
    if problem is None and not is_busy(request, config, seen, time.monotonic() + PAUSE):
        problem = f"no answer in {seconds:g} s, and no work goes on"
    if problem:
        problems.append(f"{request['model']}: {problem}")


def remembered(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def remember(path, values):
    with contextlib.suppress(OSError):  # the next call then only sees what happens during it
        path.write_text(json.dumps(values), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("startup", "live", "ready"))
    parser.add_argument("--config", default="/etc/trtbuild/probe.json")
    parser.add_argument("--url", help="of another server than the configured one")
    options = parser.parse_args()
    config = json.loads(Path(options.config).read_text(encoding="utf-8"))
    config["url"] = options.url or config["url"]
    state = Path(tempfile.gettempdir(), f"trtbuild-probe-{options.mode}-{os.getuid()}.json")
    now = counters(config)
    seen = [now, remembered(state)]
    remember(state, now)
    problems = []
    threads = [
        threading.Thread(target=check, args=(request, config, seen, problems))
        for request in config["requests"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
