"""What the tests of runs share."""

import os

import pytest


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    """Nothing here outlives the machine, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
