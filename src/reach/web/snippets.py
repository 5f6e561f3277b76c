"""What a maker copies into a page of their own: a form, a script or a frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from textwrap import dedent

from reach.settings import Settings

FORM = """\
<form method="post" action="{origin}/">
  <p><label>Your name<br>
    <input name="name" required maxlength="100" autocomplete="name"></label></p>
  <p><label>Your email address<br>
    <input name="email" type="email" required autocomplete="email"></label></p>
{back}  <button>Sign up</button>
</form>
"""
BACK = '  <input type="hidden" name="next" value="{}">\n'
SCRIPT = """\
<div data-reach><a href="{origin}/">Sign up</a></div>
<script src="{origin}/embed.js" async></script>
"""
FRAME = """\
<iframe id="sign-up" src="{origin}/embed" title="Sign up"
  style="width: 100%; height: 32rem; border: 0"></iframe>
<script>
  // Optional: the frame becomes as high as what is in it.
  addEventListener("message", (event) => {{
    const frame = document.getElementById("sign-up");
    if (event.source === frame.contentWindow && event.data.reachHeight)
      frame.style.height = `${{event.data.reachHeight}}px`;
  }});
</script>
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """HTML for a maker's page, and what else it needs to work."""

    title: str
    html: str
    needs: str


def snippets(settings: Settings) -> Mapping[str, Snippet]:
    """Write all of them, for the address and the settings of this server."""
    returns, origin = settings.returns, settings.origin
    back = BACK.format(escape(returns[0])) if returns else ""
    return {
        "form": Snippet("A form", FORM.format(origin=origin, back=back), _needs_of_form(returns)),
        "script": Snippet("A script", SCRIPT.format(origin=origin), NEEDS_OF_SCRIPT.format(origin)),
        "frame": Snippet("A frame", FRAME.format(origin=origin), _needs_of_frame(settings)),
    }


NEEDS_OF_SCRIPT = dedent("""\
    No setting. If your page has a Content-Security-Policy, script-src and connect-src must name
    {}.""").replace("\n", " ")


def _needs_of_form(returns: list[str]) -> str:
    if returns:
        return f"Works without JavaScript. REACH_RETURN_URLS leads people back to {returns[0]}."
    return (
        "Works without JavaScript. People then see a page of this server. To have them led back to "
        "one of yours, name it in REACH_RETURN_URLS, and in a hidden field called next."
    )


def _needs_of_frame(settings: Settings) -> str:
    if not settings.embedders:
        return (
            "REACH_EMBED_ORIGINS must name your site, such as https://www.example.org. It names "
            "none now: browsers show this frame on no page."
        )
    return f"Browsers show it on pages of {', '.join(settings.embedders)} (REACH_EMBED_ORIGINS)."
