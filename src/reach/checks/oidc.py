"""Whether operators can sign in at the OpenID provider that the settings name."""

from reach.auth.oidc.model import ProviderUnavailable
from reach.auth.oidc.provider import CALLBACK, Provider
from reach.checks.report import Finding
from reach.settings import BadSettings, Settings

SUBJECT = "sign-in"
REMEDY = (
    "API keys sign in meanwhile. REACH_OIDC_ISSUER must be what the provider calls itself, to the "
    "letter, and be reached from here; the document is at {issuer}/.well-known/openid-configuration"
)
OFF = "REACH_CONSOLE=off: nobody signs in at all. Leave REACH_OIDC_ISSUER out, or turn it on."


async def check_oidc(settings: Settings) -> Finding:
    """Whether the provider answers, as it must, and has keys to verify signatures with.

    Whether it knows the client and its secret shows when somebody signs in.
    """
    try:
        provider = Provider.of(settings)
    except BadSettings as error:
        return Finding(SUBJECT, "cannot be used", str(error), is_misconfigured=True)
    if provider is None:
        return Finding(SUBJECT, "by API key alone")
    if not settings.console:
        return Finding(SUBJECT, "there is no console", advice=OFF)
    try:
        keys = await provider.probe()
    except ProviderUnavailable as failed:
        remedy = REMEDY.format(issuer=settings.oidc_issuer.removesuffix("/"))
        return Finding(SUBJECT, f"{settings.oidc_issuer} cannot be used: {failed.reason}", remedy)
    callback = f"{settings.origin}{CALLBACK}"
    words = f"{settings.oidc_issuer} answers, and has {keys} key{'s' * (keys != 1)}"
    return Finding(SUBJECT, f"{words}; it must lead back to {callback}")
