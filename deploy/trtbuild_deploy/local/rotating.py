"""Copies standard input to a file that is rotated at a size: FILE BYTES; FILE.1 is the older one.

Run by its path, so it imports the standard library only.
"""

import sys
from pathlib import Path


def copy(path: Path, limit: int) -> None:
    """Copy lines until the end; both files together have at most twice ``limit`` bytes."""
    written = path.stat().st_size if path.exists() else 0
    log = path.open("ab", buffering=0)
    for line in iter(lambda: sys.stdin.buffer.readline(limit), b""):
        if written + len(line) > limit:
            log.close()
            path.replace(path.with_name(f"{path.name}.1"))
            log, written = path.open("ab", buffering=0), 0
        log.write(line)
        written += len(line)
    log.close()


if __name__ == "__main__":
    copy(Path(sys.argv[1]), int(sys.argv[2]))
