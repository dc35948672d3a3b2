"""A hub that does not answer costs one short try."""

import logging
import socket
import time

import pytest
from huggingface_hub import constants

from pointrecon.models.teachers import TEACHERS, hub
from pointrecon.utils.errors import InputError


@pytest.fixture
def server(monkeypatch):
    """The port of something that listens on this machine, without proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_listens_is_reached_and_no_other(server):
    assert hub.is_reachable(f"http://127.0.0.1:{server}/x")
    assert not hub.is_reachable("http://127.0.0.1:9") and not hub.is_reachable("https://no-such-host.invalid")


def test_a_proxy_is_asked_instead(server, monkeypatch):
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{server}")
    assert hub.is_reachable("https://no-such-host.invalid")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert not hub.is_reachable("https://no-such-host.invalid")


def test_everything_is_as_before_afterwards(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "is_reachable", lambda url: False)
    with hub.one_try():
        assert constants.HF_HUB_OFFLINE and not logging.getLogger().isEnabledFor(logging.ERROR)
    assert not constants.HF_HUB_OFFLINE and logging.getLogger().isEnabledFor(logging.ERROR)


PACKAGE_OF = {"TimmTeacher": "timm", "OpenClipTeacher": "open_clip", "SentenceTeacher": "transformers"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TimmTeacher", {"model": "test_vit.r160_in1k"}),
        ("OpenClipTeacher", {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}),
        ("SentenceTeacher", {"model": "sentence-transformers/all-MiniLM-L6-v2"}),
    ],
)
def test_each_library_gives_up_at_once(kind, options, monkeypatch, tmp_path):
    pytest.importorskip(PACKAGE_OF[kind])
    monkeypatch.setattr(hub, "is_reachable", lambda url: False)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("retried"))
    with pytest.raises(InputError, match="options.pretrained"):
        TEACHERS.build({"type": kind, **options})
