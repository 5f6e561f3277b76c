"""Translation in templates: ``{% trans %}`` and ``_("…")``, in the language of each rendering.

One environment serves all languages: what is rendered brings its ``translations``.
"""

import gettext as library

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

#: The name by which a rendering brings what translates.
TRANSLATIONS = "translations"


def install(environment: Environment) -> None:
    """Let templates be translated. Line ends and indents in a ``trans`` block are blanks."""
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    # Jinja then hands us the values by their names, to be escaped before they are put in.
    environment.newstyle_gettext = True  # type: ignore[attr-defined]
    environment.globals.update(gettext=gettext, ngettext=ngettext, pgettext=pgettext)
    environment.filters["translated"] = translated


def translations_of(context: Context) -> library.NullTranslations:
    """Give what translates in this rendering."""
    found: library.NullTranslations = context[TRANSLATIONS]
    return found


@pass_context
def gettext(context: Context, text: str, **values: object) -> str:
    """Translate a text of the template, and put values into it."""
    return _filled(context, translations_of(context).gettext(text), values)


@pass_context
def ngettext(context: Context, one: str, many: str, num: int, **values: object) -> str:
    """Translate a text of the template that has a number in it."""
    said = translations_of(context).ngettext(one, many, num)
    return _filled(context, said, {"num": num, **values})


@pass_context
def pgettext(context: Context, about: str, text: str, **values: object) -> str:
    """Translate a text of the template that means other things elsewhere."""
    return _filled(context, translations_of(context).pgettext(about, text), values)


@pass_context
def translated(context: Context, text: str) -> str:
    """Translate a text that Python code has (see ``N_``). It is escaped, as any value is."""
    return translations_of(context).gettext(text)


def _filled(context: Context, said: str, values: dict[str, object]) -> str:
    """Put values into a text, escaped where the template escapes; texts are ours, as it is."""
    text = Markup(said) if context.eval_ctx.autoescape else said  # noqa: S704
    # One without values is no pattern: a translator may well write "100 %".
    return text % values if values else text.replace("%%", "%")
