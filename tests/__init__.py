"""The tests mirror the folders of the source."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the repository
