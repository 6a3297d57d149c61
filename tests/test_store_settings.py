"""How stores are reached, and that nothing of it is shown."""

from __future__ import annotations

import pickle
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DreamshardsError, UsageError
from pipeline.recipe import Recipe, load_recipe
from pipeline.store import LocalStore, StoreSettings, open_store, with_settings
from pipeline.store.arrow import ArrowStore
from pipeline.store.s3 import S3Store
from pipeline.store.settings import public_text

VARIABLES = {
    "AWS_ENDPOINT_URL": "http://env:1",
    "AWS_REGION": "env-1",
    "AWS_ACCESS_KEY_ID": "ENVKEY",
    "AWS_SECRET_ACCESS_KEY": "ENVSECRET",
    "AWS_SESSION_TOKEN": "ENVTOKEN",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_SUPPORTED",
    "AWS_CA_BUNDLE": "/env.pem",
    "DREAMSHARDS_STORE_PATIENCE_S": "7",
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def test_without_anything_the_clients_own_ways_hold() -> None:
    assert StoreSettings.of("s3://b/x") == StoreSettings()
    assert StoreSettings().patience_s == 600


@pytest.mark.usefixtures("_environment")
def test_the_environment_is_read_and_the_uri_comes_before_it() -> None:
    everything = StoreSettings(
        endpoint="http://env:1",
        region="env-1",
        access_key="ENVKEY",
        secret_key="ENVSECRET",
        session_token="ENVTOKEN",
        checksums="when_supported",
        ca_file="/env.pem",
        patience_s=7,
    )
    assert StoreSettings.of("s3://b/x") == everything
    uri = "s3://K%2F:S%40@b/x?endpoint=https://h:9/&region=r&checksums=when_required&addressing=virtual"
    assert StoreSettings.of(uri) == everything.changed(
        endpoint="https://h:9",
        region="r",
        access_key="K/",
        secret_key="S@",
        session_token=None,  # it belongs to the other keys
        checksums="when_required",
        addressing="virtual",
    )
    anonymous = StoreSettings.of("s3://b/x?anonymous=true&patience_s=3")
    assert anonymous == StoreSettings.of("s3://anonymous@b/x?patience_s=3")
    assert (anonymous.anonymous, anonymous.access_key, anonymous.patience_s) == (True, None, 3)
    assert StoreSettings.of("gs://b/x") == StoreSettings(patience_s=7)
    spelled = StoreSettings.of("s3://b/x?endpoint_override=127.0.0.1:90&scheme=http")
    assert spelled.endpoint == "http://127.0.0.1:90"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://b/x?endpiont=http://h", "unknown option 'endpiont' (did you mean 'endpoint'?)"),
        ("s3://b/x?checksums=sometimes", "got 'sometimes'; allowed: when_required or when_supp"),
        ("s3://b/x?addressing=auto", "got 'auto'; allowed: path or virtual"),
        ("s3://b/x?anonymous=maybe", "got 'maybe'; allowed: true or false"),
        ("s3://b/x?endpoint=ftp://h", "allowed: a URL such as http://127.0.0.1:9000"),
        ("s3://b/x?endpoint=http://K:TOPSECRET@h", "allowed: a URL such as"),
        ("s3://b/x?patience_s=soon", "got 'soon'; allowed: seconds, 0 or more"),
        ("s3://b/x?patience_s=-1", "got '-1'; allowed: seconds, 0 or more"),
        ("s3://KEY:TOP/SECRET@b/x", "write / as %2F and @ as %40"),
        ("s3://KEY@b/x", "give both, access_key and secret_key"),
        ("s3://b/x?access_key=TOPSECRET", "give both, access_key and secret_key"),
        ("s3:///x", "s3:///x: no bucket"),
        ("s3://K:TOPSECRET@/x", "no bucket"),
        ("ftp://K:TOPSECRET@h/x", "ftp://…: no such kind of store"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_asked(uri: str, words: str) -> None:
    with pytest.raises(DreamshardsError) as refused:
        open_store(uri)
    assert words in str(refused.value)
    assert "TOP" not in str(refused.value)
    assert "SECRET" not in str(refused.value)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20
)


@given(WORDS, WORDS, WORDS)
def test_given_settings_come_back_and_never_show(key: str, secret: str, token: str) -> None:
    given = {"access_key": key, "secret_key": secret, "session_token": token, "region": None}
    uri = with_settings("s3://bucket/some/place", given | {"anonymous": False, "patience_s": 3.0})
    store = open_store(uri)
    assert isinstance(store, S3Store)
    found = store.settings
    assert (found.access_key, found.secret_key, found.session_token) == (key, secret, token)
    assert (found.region, found.anonymous, found.patience_s) == (None, False, 3.0)
    again = pickle.loads(pickle.dumps(store.below("a b")))
    assert again.settings == found
    assert str(again) == "s3://bucket/some/place/a b"
    shown = [public_text(uri), str(store), store.address(""), public_text(f"at {uri} it failed")]
    assert shown == [*["s3://bucket/some/place"] * 3, "at s3://bucket/some/place it failed"]
    assert "s3://bucket/some/place" in repr(store)
    for name in ("access_key", "secret_key", "session_token"):
        assert name not in repr(found)


@given(WORDS, WORDS)
def test_what_a_uri_says_comes_before_what_a_recipe_says(key: str, secret: str) -> None:
    own = f"s3://{quote(key, safe='')}:{quote(secret, safe='')}@b/x?" + urlencode({"region": "own"})
    given = {
        "access_key": "other",
        "secret_key": "o",
        "region": "other",
        "checksums": "when_required",
    }
    found = StoreSettings.of(with_settings(own, given))
    if key == "anonymous":
        return
    assert (found.access_key, found.secret_key, found.region) == (key, secret, "own")
    assert found.checksums == "when_required"


def test_kinds_of_stores_by_their_addresses() -> None:
    kinds = {
        "s3://b/x": S3Store,
        "gs://b/x": ArrowStore,
        "gcs://b/x": ArrowStore,
        "/a/b": LocalStore,
        "file:///a%20b": LocalStore,
    }
    assert {uri: type(open_store(uri)) for uri in kinds} == kinds
    assert str(open_store("file:///a%20b")) == "/a b"
    assert isinstance(open_store(Path("s3://b")), LocalStore)


# ── recipes ──


def recipe_with(*overrides: str) -> Recipe:
    return load_recipe("image-folder", ["source.path=s3://K:TOPSECRET@b/in?region=r", *overrides])


def test_a_recipes_settings_reach_its_uris_and_no_file() -> None:
    recipe = recipe_with(
        "mixing_set={kind: folder, path: 's3://mix/x'}",
        "store={endpoint: 'http://h:1', access_key: AK, secret_key: HIDDEN, patience_s: 9.0}",
    )
    source = StoreSettings.of(recipe.source.path)
    assert (source.access_key, source.secret_key) == ("K", "TOPSECRET")
    assert (source.region, source.endpoint, source.patience_s) == ("r", "http://h:1", 9)
    assert recipe.mixing_set is not None
    mixing = StoreSettings.of(recipe.mixing_set.path)
    assert (mixing.access_key, mixing.secret_key) == ("AK", "HIDDEN")
    root = open_store(recipe.reach("s3://out/root"))
    assert isinstance(root, S3Store)
    assert (root.settings.access_key, root.settings.endpoint) == ("AK", "http://h:1")
    again = open_store(recipe.reach(open_store("s3://out/root")))
    assert isinstance(again, S3Store)
    assert again.settings == root.settings
    assert recipe.reach("folder") == "folder"
    stored = recipe.model_dump(mode="json")
    assert stored["source"]["path"] == "s3://b/in"
    assert stored["mixing_set"]["path"] == "s3://mix/x"
    assert "store" not in stored
    for text in (repr(stored), recipe.model_dump_json(), repr(recipe), str(recipe)):
        assert not any(secret in text for secret in ("TOPSECRET", "HIDDEN", "http://h:1"))
    carried = pickle.loads(pickle.dumps(recipe))
    assert StoreSettings.of(carried.source.path) == source  # to workers all of it


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "store.secret_key=12345678",
            "store.secret_key: what it holds is not shown; allowed: text",
        ),
        ("store=AK:12345678", "store: what it holds is not shown; allowed: a section"),
        ("store.sekret_key=12345678", "unknown field (did you mean 'secret_key'?)"),
        ("store.endpoint=h", "store.endpoint: got 'h'; allowed: a URL such as http://127.0.0.1"),
        ("store.checksums='no'", "got 'no'; allowed: 'when_required' or 'when_supported'"),
        ("store.patience_s=-1", "store.patience_s: got -1; allowed: a number, 0 to 1000000"),
        ("source.kind=s3://A:12345678@b", "source.kind: got 's3://b'"),
    ],
)
def test_wrong_sections_are_refused_without_showing_secrets(override: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        recipe_with(override)
    assert words in str(refused.value)
    assert "12345678" not in str(refused.value)
    assert "TOPSECRET" not in str(refused.value)
