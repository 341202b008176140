"""What the tests of both search engines share: asking a server past our own code."""

import json
import urllib.request


def asked(url, path, body=None, method=None):
    """Ask a server by plain HTTP."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, {"content-type": "application/json"}, method=method)  # noqa: S310
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


def raw_count_of(url, index):
    """Count the documents of an index."""
    return asked(url, f"/{index}/_count")["count"]
