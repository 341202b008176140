"""A server that only answers how a test wants: for versions, headers and errors that no real one at hand has."""

import json
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def stub(answers, *, status=404, product="Elasticsearch", slow=0.0):
    """Serve canned answers on a free port.

    Args:
        answers: path → JSON.
        status: of all other paths.
        product: what the server says to be; Elasticsearch's client looks.
        slow: seconds before a POST is answered.

    Yields:
        Its URL, and the headers of every request so far.
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            found = answers.get(self.path.partition("?")[0])
            body = json.dumps({"error": {"reason": "none"}, "status": status} if found is None else found).encode()
            self.send_response(200 if found is not None else status)
            for name, value in (("Content-Type", "application/json"), ("X-Elastic-Product", product)):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(slow)
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def node(version: str, *parts: str):
    """Answer as a node of a version does, which has some modules and plugins."""
    return {"/_nodes/plugins": {"nodes": {"a": {"version": version, "modules": [{"name": one} for one in parts]}}}}
