"""Configs of the search engines: the design's own words, URLs, versions, and secrets that never show."""

import base64

import numpy as np
import pytest
from engines.stub import node, stub

import dkvector as dkv
from dkvector.backends._engine_config import EngineConfig, access, read_config
from dkvector.backends._wire import Server
from dkvector.backends.elasticsearch import ElasticsearchDialect, ElasticsearchWire
from dkvector.backends.opensearch import OpenSearchWire
from dkvector.metrics import DistanceMetric, from_engine, of_pairs

SEED = {"hosts": ["localhost:9200"], "index": "embeddings", "vector": {"dimension": 768, "similarity": "cosine"}}


def test_the_config_of_the_design_is_read_word_for_word():
    read = read_config("elasticsearch", SEED)
    assert (read.index, read.vectors.dimension, read.vectors.metric) == ("embeddings", 768, DistanceMetric.COSINE)
    assert access("elasticsearch", read, {}).hosts == ("http://localhost:9200",)


@pytest.mark.parametrize(
    "backend", ["elasticsearch_vector", "es_vector", "elasticsearch", "opensearch", "opensearch_vector"]
)
async def test_every_name_of_the_design_opens_a_store(backend, monkeypatch):
    monkeypatch.delenv("ELASTIC_PASSWORD", raising=False)
    engine = "elasticsearch" if backend.startswith("e") else "opensearch"
    version = {"elasticsearch": "9.5.3", "opensearch": "3.6.0"}[engine]
    with stub(node(version, *(["opensearch-knn"] if engine == "opensearch" else []))) as (url, _):
        store = await dkv.VectorStoreFactory.create(backend, SEED | {"hosts": [url.removeprefix("http://")]})
        assert (store.name, store.dimension, store.metric, store.empty) == (engine, 768, DistanceMetric.COSINE, True)
        await store.aclose()


@pytest.mark.parametrize(
    ("url", "host", "login", "index"),
    [
        ("elasticsearch://h/docs", "http://h:9200", None, "docs"),
        ("elasticsearch://me:p%40ss@h:9201/docs", "http://h:9201", ("me", "p@ss"), "docs"),
        ("elasticsearch+https://h", "https://h:9200", None, "dkvector"),
        ("https://h:443/docs?shards=3&verify_certs=false&timeout=2.5", "https://h:443", None, "docs"),
        ("elasticsearch://[::1]:9200/d", "http://[::1]:9200", None, "d"),
    ],
)
def test_urls(url, host, login, index):
    read = read_config("elasticsearch", {"url": url})
    found = access("elasticsearch", read, {})
    assert (found.hosts, found.user, read.index) == ((host,), login, index)
    if "shards" in url:
        assert (read.shards, read.verify_certs, read.timeout) == (3, False, 2.5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hots": "h"}, "no 'hots'.*hosts"),
        ({"vector": {"dimensions": 3}}, "no 'dimensions'.*dimension"),
        ({"index": "Docs"}, "can't be called 'Docs': lower-case"),
        ({"index": "a,b"}, "can't be called"),
        ({"index": "docs*"}, "can't be called"),
        ({"index": "../docs"}, "can't be called"),
        ({"index": "_all"}, "can't be called"),
        ({"index": "x" * 300}, "at most 200 bytes"),
        ({"engine": "nmslib"}, "no engine 'nmslib'"),
        ({"url": "elasticsearch://h/docs?shards=many"}, "shards must be a number, not 'many'"),
        ({"url": "elasticsearch://h/docs?shard=3"}, "takes no 'shard'.*shards"),
        ({"vector": {"similarity": "manhattan"}}, "manhattan"),
        ({"vector": {"index": "hnws"}}, "no index 'hnws'"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_says_what_would(config, message):
    with pytest.raises(dkv.DkvectorError, match=message):
        checked(config)


def checked(config):
    read = read_config("elasticsearch", config)
    return read.vectors.metric, read.vectors.spec


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"routing": ""}, "routing is one value, without a comma, not ''"),  # rows were written, and not found
        ({"routing": "a,b"}, "routing is one value, without a comma, not 'a,b'"),
        ({"in_flight": 0}, "in_flight must be a whole number of at least 1, not 0"),
        ({"bulk_bytes": "4 MB"}, "bulk_bytes must be a whole number"),
        ({"timeout": "x"}, "timeout must be a number above 0, not 'x'"),
        ({"bulk_timeout": 0}, "bulk_timeout must be a number above 0, not 0"),
        ({"oversample": -1}, "oversample must be a number above 0, not -1"),
    ],
    ids=str,
)
def test_knobs_that_can_not_be_are_refused(knob, message):
    with pytest.raises(dkv.SchemaError, match=message):
        read_config("elasticsearch", {"hosts": "h"} | knob)


def test_a_port_that_is_no_number():
    with pytest.raises(dkv.SchemaError, match="port"):
        access("elasticsearch", read_config("elasticsearch", {"hosts": "h:port"}), {})


@pytest.mark.parametrize("engine", ["elasticsearch", "opensearch"])
@pytest.mark.parametrize("login", ["me:se/cret@h", "me:se[cret@h"])
def test_a_url_that_can_not_be_read_shows_no_secret(engine, login):
    url = f"{engine}://{login}/db"
    for config in (url, {"backend": engine, "url": url}, {"backend": engine, "hosts": [url.replace("/cret", "[cret")]}):
        with pytest.raises(dkv.SchemaError, match="the URL can't be read") as error:
            dkv.connect(config)
        assert error.value.__cause__ is None
        assert "cret" not in str(error.value)


def test_an_index_that_the_engine_has_not_is_refused_before_anything_is_made():
    with stub(node("9.5.3")) as (url, _), pytest.raises(dkv.UnsupportedError, match="no index 'ivf'"):
        dkv.connect({"backend": "elasticsearch", "hosts": url, "vector": {"index": "ivf"}})


# Who may come in


@pytest.mark.parametrize(
    ("config", "environment", "user", "key"),
    [
        ({"user": "me", "password": "secret"}, {}, ("me", "secret"), None),
        ({"username": "me", "password": "secret"}, {}, ("me", "secret"), None),
        ({"url": "http://h:1/i", "username": "me", "password": "secret"}, {}, ("me", "secret"), None),
        ({"url": "http://you:other@h", "username": "me", "password": "secret"}, {}, ("me", "secret"), None),
        ({"user": "me"}, {"ELASTIC_PASSWORD": "secret"}, ("me", "secret"), None),
        ({"api_key": "secret"}, {"ELASTIC_PASSWORD": "other"}, None, "secret"),
        ({}, {"ELASTIC_API_KEY": "secret"}, None, "secret"),
        ({}, {"ELASTIC_PASSWORD": "secret"}, ("elastic", "secret"), None),
        ({}, {"ELASTIC_USERNAME": "me", "ELASTIC_PASSWORD": "secret"}, ("me", "secret"), None),
        ({"url": "elasticsearch://me:secret@h"}, {"ELASTIC_API_KEY": "other"}, ("me", "secret"), None),
        ({}, {}, None, None),
    ],
    ids=str,
)
def test_credentials_come_from_the_url_the_config_or_the_environment(config, environment, user, key):
    read = read_config("elasticsearch", config)
    found = access("elasticsearch", read, environment)
    assert (found.user, found.api_key) == (user, key)
    assert "secret" not in repr(read) + repr(found)


@pytest.mark.parametrize(
    ("config", "sent"),
    [
        ({"api_key": "a2V5"}, "ApiKey a2V5"),
        ({"user": "me", "password": "pässword"}, "Basic " + base64.b64encode("me:pässword".encode()).decode()),
    ],
    ids=["key", "user"],
)
def test_what_the_server_is_told(config, sent):
    with stub(node("9.5.3")) as (url, seen), dkv.connect({"backend": "elasticsearch", "hosts": url} | config) as store:
        assert seen[0]["authorization"] == sent
        assert config.get("password", "a2V5") not in repr(store) + store._repr_html_()
    if "user" in config:
        with (
            stub(node("3.6.0", "opensearch-knn")) as (url, seen),
            dkv.connect({"backend": "opensearch", "hosts": url} | config),
        ):
            assert seen[0]["authorization"] == sent


def test_a_cloud_id_leads_to_its_server():
    cloud = "mine:" + base64.b64encode(b"example.invalid:9243$abc$def").decode()
    wire = ElasticsearchWire(EngineConfig(cloud_id=cloud, api_key="secret"))
    (made,) = wire.made().transport.node_pool.all()
    assert made.base_url == "https://abc.example.invalid:9243"
    assert wire.hosts == ("Elastic's cloud",)


def test_opensearch_has_no_keys():
    with pytest.raises(dkv.SchemaError, match="takes a user and a password, not an api_key"):
        OpenSearchWire(EngineConfig(api_key="secret"))


@pytest.mark.parametrize("backend", ["elasticsearch", "opensearch"])
@pytest.mark.parametrize(("status", "error"), [(401, dkv.AccessDeniedError), (500, dkv.BackendUnavailableError)])
def test_a_server_that_refuses(backend, status, error):
    with stub({}, status=status) as (url, _), pytest.raises(error) as caught:
        dkv.connect(f"{backend}://me:secret@{url.removeprefix('http://')}/docs")
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize("backend", ["elasticsearch", "opensearch"])
def test_nobody_there(backend):
    with pytest.raises(dkv.BackendUnavailableError, match=f"{backend} can't be reached") as caught:
        dkv.connect(f"{backend}://me:secret@127.0.0.1:9/docs")
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)


# Versions


@pytest.mark.parametrize(
    ("backend", "version", "extra"),
    [
        ("elasticsearch", "8.19.21", "elasticsearch8"),
        ("elasticsearch", "7.17.0", "elasticsearch7"),
        ("elasticsearch", "10.0.0", "elasticsearch"),
        ("opensearch", "1.3.0", "opensearch1"),
        ("opensearch", "4.0.0", "opensearch"),
    ],
)
def test_another_major_says_what_to_install(backend, version, extra):
    with (
        stub(node(version, "opensearch-knn")) as (url, _),
        pytest.raises(dkv.BackendUnavailableError, match=f"{backend} {version}, the client is .*dkvector.{extra}.'"),
    ):
        dkv.connect({"backend": backend, "hosts": url})


@pytest.mark.parametrize("version", ["2.19.0", "3.0.0", "3.6.0"])
def test_versions_of_opensearch_that_fit(version):
    with stub(node(version, "opensearch-knn")) as (url, _):
        dkv.connect({"backend": "opensearch", "hosts": url}).close()


def test_a_server_that_does_not_tell_its_version_is_taken_as_it_is():
    with stub({}, status=405) as (url, _), pytest.raises(dkv.BackendUnavailableError, match="can't answer"):
        dkv.connect({"backend": "elasticsearch", "hosts": url})
    with stub({}, status=404) as (url, _), dkv.connect({"backend": "elasticsearch", "hosts": url}) as store:
        assert not store.supports.other_metric


@pytest.mark.parametrize(
    ("backend", "parts", "message"),
    [
        ("opensearch", ["x-pack-core"], "the server is Elasticsearch"),
        ("opensearch", ["reindex"], "no plugin 'opensearch-knn'"),
    ],
)
def test_another_server_than_was_named(backend, parts, message):
    version = {"x-pack-core": "9.5.3", "reindex": "3.6.0"}[parts[0]]
    with stub(node(version, *parts)) as (url, _), pytest.raises(dkv.BackendUnavailableError, match=message):
        dkv.connect({"backend": backend, "hosts": url})


def test_a_server_that_is_not_elasticsearch():
    with (
        stub(node("3.6.0"), product="OpenSearch") as (url, _),
        pytest.raises(dkv.BackendUnavailableError, match="not Elasticsearch; OpenSearch is opensearch://"),
    ):
        dkv.connect({"backend": "elasticsearch", "hosts": url})


@pytest.mark.parametrize(
    ("version", "packed", "rescores", "scripts"),
    [
        ("8.15.0", False, False, True),
        ("8.18.0", False, True, True),
        ("9.0.0", False, True, True),
        ("9.3.0", True, True, False),
    ],
)
def test_what_a_version_of_elasticsearch_can(version, packed, rescores, scripts):
    server = Server(tuple(map(int, version.split("."))), frozenset({"lang-painless"} if scripts else ()))
    dialect = ElasticsearchDialect(server, EngineConfig())
    assert (dialect.packed, dialect.rescores, dialect.supports.other_metric) == (packed, rescores, scripts)


# Scores


@pytest.mark.parametrize(
    ("measure", "metric", "score"),
    [
        ("cosine", DistanceMetric.COSINE, lambda d: (2 - d) / 2),
        ("l2_norm", DistanceMetric.EUCLIDEAN, lambda d: 1 / (1 + d * d)),
        ("max_inner_product", DistanceMetric.DOT_PRODUCT, lambda d: 1 - d if d <= 0 else 1 / (1 + d)),
    ],
)
def test_scores_become_distances(measure, metric, score):
    rng = np.random.default_rng(0)
    queries, vectors = rng.standard_normal((2, 50, 8)).astype("f4")
    distances = of_pairs(queries, vectors, metric)
    scores = np.float32([score(float(one)) for one in distances])
    np.testing.assert_allclose(from_engine(scores, measure), distances, rtol=1e-4, atol=1e-5)
    with pytest.raises(dkv.UnsupportedError, match="no measure"):
        from_engine(scores, "hamming")
