"""An engine behind authentication and TLS: who is let in, what they may do, and nothing of it is shown."""

import ssl
import time
import urllib.error
import urllib.request

import numpy as np
import pandas as pd
import pytest
import trustme
from engines import ELASTICSEARCH
from engines.serving import server_of

import dkvector as dkv

PASSWORD = "correct horse"  # noqa: S105 - of a server that lives as long as this module's tests
HASHED = "$2a$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu"
ROLES = """
reading:
  indices: [{names: ["docs*"], privileges: ["read", "view_index_metadata"]}]
watching:
  cluster: ["monitor"]
"""
SETTINGS = {
    "xpack.security.enabled": "true",
    "xpack.security.transport.ssl.enabled": "false",
    "xpack.security.http.ssl.enabled": "true",
    "xpack.security.http.ssl.key": "server.key",
    "xpack.security.http.ssl.certificate": "server.crt",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Make a certificate authority, and a certificate of the server."""
    made = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.crt"
    made.cert_pem.write_to_path(file)
    return made, file


@pytest.fixture(scope="module")
def secured(authority):
    """Run Elasticsearch with users and TLS."""
    certificate = authority[0].issue_cert("127.0.0.1", "localhost")
    files = {
        "server.key": certificate.private_key_pem.bytes().decode(),
        "server.crt": b"".join(one.bytes() for one in certificate.cert_chain_pems).decode(),
        "users": f"writer:{HASHED}\nreader:{HASHED}\n",
        "users_roles": "superuser:writer\nreading:reader\n",
        "roles.yml": ROLES,
    }
    with server_of(ELASTICSEARCH, {"settings": SETTINGS, "files": files, "ready": None}, whole=True) as server:
        waited(server.host, authority[1])
        yield server.host


def waited(host, file):
    """Wait until the server asks who is there."""
    context = ssl.create_default_context(cafile=str(file))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            opener.open(f"https://{host}/_cluster/health", timeout=5)
        except urllib.error.HTTPError as answer:
            if answer.code == 401:
                return
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail("the server never asked who is there")


def config(host, file, **knobs: object):
    return {
        "backend": "elasticsearch",
        "hosts": f"https://{host}",
        "index": "docs",
        "user": "writer",
        "password": PASSWORD,
        "ca_certs": str(file),
        **knobs,
    }


@pytest.fixture(scope="module")
def filled(secured, authority):
    """Give the config of a store that holds rows."""
    target = config(secured, authority[1])
    frame = pd.DataFrame({"n": [1, 2], "v": [[1.0, 0], [0, 1.0]]}, index=["a", "b"])
    eventually(lambda: frame.vec.push(target).close())
    return target


def eventually(call):
    """Try for a while: users are there a moment after the server is."""
    for _ in range(50):
        try:
            return call()
        except dkv.AccessDeniedError:
            time.sleep(0.2)
    return call()


def test_a_user_with_a_password_over_tls(filled):
    with dkv.connect(filled) as store:
        assert store.search([1.0, 0.1], k=1).index.tolist() == ["a"]
        assert store.upsert(pd.DataFrame({"n": [3], "v": [[1.0, 1]]}, index=["c"])).inserted == 1
        assert store.delete(["c"]) == 1
        assert PASSWORD not in repr(store) + store._repr_html_() + repr(vars(store.store)["_config"])


def test_the_login_may_be_in_the_url(filled, secured):
    url = f"elasticsearch+https://writer:correct%20horse@{secured}/docs?ca_certs={filled['ca_certs']}"
    with dkv.connect(url) as store:
        assert store.count() == 2
        assert "horse" not in repr(store) + store._repr_html_()


def test_the_login_may_be_in_the_environment(filled, monkeypatch):
    monkeypatch.setenv("ELASTIC_USERNAME", "writer")
    monkeypatch.setenv("ELASTIC_PASSWORD", PASSWORD)
    with dkv.connect({key: one for key, one in filled.items() if key not in {"user", "password"}}) as store:
        assert store.count() == 2


@pytest.mark.parametrize("knobs", [{"password": "wrong"}, {"user": None, "password": None}], ids=["wrong", "nobody"])
def test_nobody_else_is_let_in(filled, knobs):
    with pytest.raises(dkv.AccessDeniedError, match="refused the credentials") as caught:
        dkv.connect({**filled, **knobs})
    assert PASSWORD not in str(caught.value)


def test_a_user_who_only_reads_is_told_so(filled):
    """Such a user may not even ask the server what it is."""
    with dkv.connect({**filled, "user": "reader"}) as store:
        assert store.search(np.float32([0.1, 1]), k=1).index.tolist() == ["b"]
        assert store.search([0.1, 1], k=1, where="n < 2").index.tolist() == ["a"]
        assert (store.count("n > 1"), len(store.to_frame())) == (1, 2)
        for call in (
            lambda: store.upsert(pd.DataFrame({"n": [3], "v": [[1.0, 1]]}, index=["c"])),
            lambda: store.delete(["a"]),
            lambda: store.upsert(pd.DataFrame({"n": [3], "v": [[1.0, 1]]}, index=["c"]), mode="replace"),
            store.drop,
        ):
            with pytest.raises(dkv.AccessDeniedError, match="don't allow this"):
                call()
        assert store.count() == 2
    with pytest.raises(dkv.AccessDeniedError, match="don't allow this"):
        dkv.connect({**filled, "user": "reader", "index": "other"})


def test_a_server_whose_certificate_is_not_trusted_is_not_spoken_to(filled):
    with pytest.raises(dkv.BackendUnavailableError, match=r"(?i)certificate"):
        dkv.connect({key: one for key, one in filled.items() if key != "ca_certs"})
    trusting = {key: one for key, one in filled.items() if key != "ca_certs"} | {"verify_certs": False}
    with dkv.connect(trusting) as store:
        assert store.count() == 2
