"""The templates of pages, and the files that pages load."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import Response
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    meta,
    pass_context,
)
from jinja2.runtime import Context
from markupsafe import Markup

from reach.languages import templates as translated
from reach.languages.catalogues import Catalogues
from reach.languages.dates import long_date
from reach.settings import BadSettings, Settings
from reach.settings.brand import LOGO_TYPES, Brand, Shades
from reach.web.policy import policies

#: Where the pages have their templates, our stylesheet and our icon.
PAGES = Path(__file__).parent.parent / "pages"
#: Where the operators' console has its own.
CONSOLE = Path(__file__).parent.parent / "console" / "static"
YEAR_SECONDS = 365 * 24 * 3600
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", **LOGO_TYPES}
#: The page of the API comes as a package.
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")
#: Files that others load, too: emails show the logo, a script on somebody's page (``embed.js``) has
#: the spam check done.
SHARED = ("logo", "altcha")
FOR_ALL = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
#: Whose colours the brand says.
SHEET = "reach.css"
COLORS = """\
:root {{ --accent: {light.text}; --fill: {light.fill}; --on-fill: {light.on_fill}; \
--strong: {light.strong}; }}
@media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark.text}; --fill: {dark.fill}; \
--on-fill: {dark.on_fill}; --strong: {dark.strong}; }} }}
"""
#: What a page is rendered in: a language's code, and whether it was asked for by ``?lang=``.
LANGUAGE, IS_CHOSEN = "language", "is_language_chosen"
#: What a page is like unless something else is said.
NOT_SAID = {IS_CHOSEN: False, "framed": False}
#: What makes a blank form another one: of each there are only so many.
KINDS = (IS_CHOSEN, "framed", "next", "site")
#: In place of a language's own name, and of the direction in which it is written.
OWN_NAME, DIRECTION = "English", "ltr"
#: What is another one at each visit of the same form, of letters and digits alone; and what stands
#: for it.
VARYING = {"started": "varying-time", "nonce": "varying-nonce"}


class Pages:
    """What pages are made of: templates, a brand, languages, and the files that they load."""

    def __init__(self, settings: Settings, catalogues: Catalogues) -> None:
        """Take the brand and the operator's folder. Raises BadSettings for what cannot be used."""
        self.catalogues = catalogues
        self.brand: Brand = settings.brand
        self.policy, self.framed_policy = policies(settings)
        self._static = _own_files(self.brand)
        if settings.console:
            self._static |= console_files()
        self._blank: dict[tuple[object, ...], str] = {}
        folder = settings.pages_dir
        if folder and not folder.is_dir():
            raise BadSettings("REACH_PAGES_DIR: there is no such folder")
        self._environment = _environment(folder)
        self._environment.globals.update(
            asset=self.asset,
            to=to,
            brand=self.brand,
            brand_name=self.brand.name,
            languages=self._languages(),
        )
        if folder:
            self._compile(folder)

    def render(self, name: str, language: str, **values: object) -> str:
        """Fill a template in. It escapes every value, and fails if one that it uses is missing."""
        translations = self.catalogues.of(language)
        values |= {LANGUAGE: language, translated.TRANSLATIONS: translations}
        values["direction"] = translations.pgettext("direction of writing", DIRECTION)
        return self._environment.get_template(name).render({**NOT_SAID, **values})

    def render_blank(self, name: str, language: str, **values: object) -> str:
        """Fill in a form that nobody has typed into: all but what ``VARYING`` names is the same.

        So it is rendered once for each language (and what else ``KINDS`` names), and a visit costs
        little.
        """
        key = name, language, *(values[one] for one in KINDS)
        varying = {one: str(values[one]) for one in VARYING if one in values}
        text = self._blank.get(key)
        if text is None:
            marked = {one: VARYING[one] for one in varying}
            text = self.render(name, language, **{**values, **marked})
            if not self._environment.auto_reload:
                self._blank[key] = text
        for one, value in varying.items():
            text = text.replace(VARYING[one], value)
        return text

    def asset(self, name: str) -> str:
        """Write the address of a static file of this version."""
        path = Path(name)
        return f"/static/{path.stem}-{self.digest(name)}{path.suffix}"

    def static_file(self, name: str) -> Response | None:
        """Answer with ``name-<hash>.css``, to be kept for ever; None if there is no such file.

        With another version's hash (two versions may run at once) it is ours, and not to be kept.
        """
        asked = Path(name)
        stem, _, digest = asked.stem.rpartition("-")
        found = f"{stem}{asked.suffix}"
        if found not in self._static:
            return None
        kept = f"public, max-age={YEAR_SECONDS}, immutable"
        return Response(
            self._static[found],
            headers={
                "Cache-Control": kept if digest == self.digest(found) else "no-store",
                **(FOR_ALL if found.partition(".")[0] in SHARED else {}),
            },
            media_type=MEDIA_TYPES[asked.suffix],
        )

    def content(self, name: str) -> bytes:
        """Give a static file of this version."""
        return self._static[name]

    def digest(self, name: str) -> str:
        """Give what changes with a static file."""
        return _digest(self._static[name])

    def _languages(self) -> Mapping[str, str]:
        """Name each language in itself, by its code."""
        return {
            code: self.catalogues.of(code).pgettext("name of this language in itself", OWN_NAME)
            for code in self.catalogues.languages
        }

    def _compile(self, folder: Path) -> None:
        known = set(self._environment.globals) | {"self", "super", "caller"}
        for file in (PAGES / "templates").glob("*.html"):
            known |= self._names_in(file)
        for file in sorted(folder.glob("*.html")):
            try:
                self._environment.get_template(file.name)
                unknown = self._names_in(file) - known
            except (TemplateError, OSError, UnicodeDecodeError) as error:
                raise BadSettings(f"REACH_PAGES_DIR: {file.name}: {error}") from None
            if unknown:
                raise BadSettings(f"REACH_PAGES_DIR: {file.name}: no page has {min(unknown)}")

    def _names_in(self, file: Path) -> set[str]:
        """Name what a template must be given."""
        text = file.read_text(encoding="utf-8")
        return meta.find_undeclared_variables(self._environment.parse(text))


@pass_context
def to(context: Context, path: str) -> Markup:
    """Write the address of a page of ours, in the language that was chosen by ``?lang=``."""
    if not context[IS_CHOSEN]:
        return Markup(path)  # noqa: S704 - the template's own
    return Markup("{}{}lang={}").format(
        Markup(path),  # noqa: S704 - the template's own
        "&" if "?" in path else "?",
        context[LANGUAGE],
    )


def _own_files(brand: Brand) -> dict[str, bytes]:
    """All files that pages load, by name; our stylesheet with the brand's colours."""
    found = dict(_files())
    found[SHEET] = colors(brand.light, brand.dark).encode() + found[SHEET]
    if brand.logo and brand.logo.content:
        stem, _, rest = brand.logo.name.rpartition("-")
        found[f"{stem}{Path(rest).suffix}"] = brand.logo.content
    return found


def colors(light: Shades, dark: Shades) -> str:
    """Write a brand's colours as CSS."""
    return COLORS.format(light=light, dark=dark)


@cache
def _files() -> Mapping[str, bytes]:
    """Read the files of this version, once."""
    found = {path.name: path.read_bytes() for path in sorted((PAGES / "static").iterdir())}
    resources = files("fastapi_swagger") / "resources"
    return found | {name: (resources / name).read_bytes() for name in SWAGGER_UI}


@cache
def console_files() -> Mapping[str, bytes]:
    """Read what the console's pages load: our own files, and those of others beside them."""
    found = (*CONSOLE.iterdir(), *(CONSOLE / "vendor").iterdir())
    return {path.name: path.read_bytes() for path in sorted(found) if path.suffix in MEDIA_TYPES}


@cache
def _digest(content: bytes) -> str:
    """Digest a file, once: Swagger UI's script has 1.7 MB."""
    return hashlib.sha256(content).hexdigest()[:12]


def _environment(folder: Path | None) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([*filter(None, [folder]), PAGES / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=folder is not None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    translated.install(environment)
    environment.filters["long_date"] = long_date
    return environment
