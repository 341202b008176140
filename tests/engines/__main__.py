"""Run the servers until Ctrl-C: `make servers`, or `make servers ENGINES=opensearch`."""

import signal
import sys
from contextlib import ExitStack

from engines import ELASTICSEARCH, OPENSEARCH, MissingError, started

KNOWN = {"elasticsearch": ELASTICSEARCH, "opensearch": OPENSEARCH}


def main(names: list[str]) -> str | None:
    """Start the servers that are named, both by default, and tell where they are."""
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, lambda *_: sys.exit())  # so that the servers are stopped on the way out
    with ExitStack() as running:
        for name in names or KNOWN:
            print(f"starting {name} …", flush=True)  # noqa: T201 - what the command is for
            try:
                server = running.enter_context(started(KNOWN[name]))
            except MissingError as exc:
                return str(exc)
            print(f'  dkv.connect("{name}://{server.host}", table="documents")', flush=True)  # noqa: T201
            print(f"  export DKVECTOR_TEST_{name.upper()}={server.url}", flush=True)  # noqa: T201
        signal.pause()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
