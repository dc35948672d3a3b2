"""Whether weights can be downloaded: found out by one short try, instead of the libraries' minutes of retries."""

import contextlib
import logging
import socket
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

TIMEOUT = 5.0  # seconds
PORTS = {"http": 80, "https": 443}


def is_reachable(url: str) -> bool:
    """Whether a server, or the proxy that the environment names for it, takes a connection."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    host = parts.hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else proxies.get(parts.scheme, proxies.get("all"))
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS.get(parts.scheme, 443)), TIMEOUT).close()
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def one_try() -> Iterator[None]:
    """In the block, a hub that does not answer is not asked: what is in its cache is found, the rest fails at once."""
    from huggingface_hub import constants

    before, silenced = constants.HF_HUB_OFFLINE, logging.root.manager.disable
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        logging.disable(logging.ERROR)  # the libraries' own words come before the one sentence that is told
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.disable(silenced)
