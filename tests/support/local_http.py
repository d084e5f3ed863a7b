"""HTTP to what runs on this machine."""

from typing import Any

import httpx

from tests.support.waiting import DEADLINE_SECONDS


def request(method: str, url: str, **more: Any) -> httpx.Response:
    """Loads no certificates: that takes ten times as long as the rest, and whoever waits asks again and again."""
    return httpx.request(method, url, timeout=DEADLINE_SECONDS, trust_env=False, verify=False, **more)


def client(base_url: str) -> httpx.Client:
    return httpx.Client(base_url=base_url, timeout=DEADLINE_SECONDS, trust_env=False, verify=False)


def get(url: str, **more: Any) -> httpx.Response:
    return request("GET", url, **more)
