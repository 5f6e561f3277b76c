"""What pages load: our stylesheet and icon, and Swagger UI, which comes as a package."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import Response

HERE = Path(__file__).parent
YEAR_SECONDS = 365 * 24 * 3600
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")


def asset(name: str) -> str:
    """Write the address of a static file of this version."""
    path = Path(name)
    return f"/static/{path.stem}-{_digest(name)}{path.suffix}"


def static_file(name: str) -> Response | None:
    """Answer with ``name-<hash>.css``, to be kept for ever; None if there is no such file.

    With another version's hash (two versions may run at once) it is ours, and not to be kept.
    """
    asked = Path(name)
    stem, _, digest = asked.stem.rpartition("-")
    found = f"{stem}{asked.suffix}"
    if found not in _static:
        return None
    is_this = digest == _digest(found)
    kept = f"public, max-age={YEAR_SECONDS}, immutable" if is_this else "no-store"
    return Response(
        _static[found], headers={"Cache-Control": kept}, media_type=MEDIA_TYPES[asked.suffix]
    )


@cache
def _digest(name: str) -> str:
    """Digest a file, once: Swagger UI's script has 1.7 MB."""
    return hashlib.sha256(_static[name]).hexdigest()[:12]


_static = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}
_static |= {
    name: (files("fastapi_swagger") / "resources" / name).read_bytes() for name in SWAGGER_UI
}
