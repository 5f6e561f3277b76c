"""The extra: loaded when somebody signs in, and missed at the start."""

import subprocess
import sys

#: What each process of the API does at its start, with the extra and without.
PROGRAM = """
import sys
import reach.app
from reach.auth.oidc.provider import Provider
from reach.settings import Settings
settings = Settings(
    secret_key="k" * 40, oidc_issuer="https://login.example.org", oidc_client_id="reach",
    oidc_grants="ops=*",
)
Provider(settings)
print(sorted({"joserfc", "httpx2", "cryptography"} & set(sys.modules)))
sys.modules["joserfc"] = None
Provider(settings)
"""


def test_it_is_loaded_late_and_missed_early() -> None:
    """An API process where nobody signs in so has no memory for it; what to install is said."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]"
    assert "pip install 'reach[oidc]'" in done.stderr
    assert "requirements/oidc.txt" in done.stderr
