"""Tiny networks, made once."""

from pathlib import Path

import pytest
from tiny_networks import write_detector, write_red_or_blue, write_segmenter


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmenter(tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="session")
def red_or_blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_red_or_blue(tmp_path_factory.mktemp("red_or_blue"))
