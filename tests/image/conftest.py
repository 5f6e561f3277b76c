"""The image, for every test of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deploy.image import Image, NoImage, built


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Offer the built image: built once, whichever test process is first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    try:
        with built(shared / "image") as found:
            yield found
    except NoImage as reason:
        pytest.skip(str(reason))


@pytest.fixture
def volume(tmp_path: Path, image: Image) -> Path:
    """Offer a folder that the image's user may write to, and nobody else."""
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o700)
    user = int(image.config["User"].partition(":")[0])
    os.chown(folder, user, user)
    return folder
