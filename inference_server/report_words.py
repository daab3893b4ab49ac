"""The report's words, ready for translation by gettext (domain "lungxai").

_(), ngettext()   a string in the language of the report that is being written, English unless speaking() says another
class_words(), part_words(), method_words()   the names that the contract holds, in that language
Words             one language: english(), of(), pseudo() for tests
speaking()        which Words hold within a ``with``
extract()         every string of the report, as a template for translators; ``python -m inference_server.report_words``
                  writes it to locale/lungxai.pot (needs babel, which is a tool of developers)

A translation is ``locale/LANGUAGE/LC_MESSAGES/lungxai.mo``. A string with a value in it names it, ``_("%(n)s tiles",
n=3)`` in a template and ``_("%(n)s tiles") % {"n": 3}`` in Python, so that a translator may move it.

Not translated: data (ids, notes of the board, names of models and what their bundles say), the sentences that results
bring from the contract (agreement, abstention, notes, certainty, how far a heatmap can be trusted) and units.
"""

from __future__ import annotations

import gettext as _gettext
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from shared_models.contract.colours import CLASS_LABELS, METHOD_LABELS
from shared_models.contract.errors import InvalidInput
from shared_models.contract.fusion_result import PART_LABELS

DOMAIN = "lungxai"
LOCALE = Path(__file__).parent / "locale"
_HEADER = (
    f"# LungXAI: strings of the case report.\n# Written by python -m {__package__}.report_words\n"
    'msgid ""\nmsgstr ""\n"Project-Id-Version: lungxai\\n"\n"MIME-Version: 1.0\\n"\n'
    '"Content-Type: text/plain; charset=utf-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n\n'
)


class _Pseudo(_gettext.NullTranslations):
    """Each string in brackets, so that one which was forgotten stands out."""

    def gettext(self, message: str) -> str:
        return f"\u27e6{message}\u27e7"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


@dataclass(frozen=True)
class Words:
    """One language.

    Parameters
    ----------
    language : its tag after BCP 47, for the page's ``lang``
    catalogue : its strings
    """

    language: str = "en"
    catalogue: _gettext.NullTranslations = field(default_factory=_gettext.NullTranslations)

    @classmethod
    def of(cls, language: str, locale: Path = LOCALE) -> Words:
        """The strings of a language: English, or one that ``locale`` holds.

        Raises
        ------
        InvalidInput : there are none.
        """
        if language == "en":
            return cls()
        try:
            return cls(language, _gettext.translation(DOMAIN, locale, [language.replace("-", "_")]))
        except OSError:
            raise InvalidInput(f"The report is not translated into {language!r}.", "Ask for it in English.") from None

    @classmethod
    def pseudo(cls) -> Words:
        """English, each string in brackets of U+27E6 and U+27E7."""
        return cls(catalogue=_Pseudo())


_ENGLISH = Words()
_CURRENT: ContextVar[Words] = ContextVar("words", default=_ENGLISH)


@contextmanager
def speaking(words: Words) -> Iterator[Words]:
    """Within it, and in this thread, strings are in these words."""
    token = _CURRENT.set(words)
    try:
        yield words
    finally:
        _CURRENT.reset(token)


def _(message: str) -> str:
    """``message`` translated."""
    return _CURRENT.get().catalogue.gettext(message)


def ngettext(one: str, many: str, n: int) -> str:
    """The form of ``n`` things, translated; ``% {"n": n}`` is left to the caller."""
    return _CURRENT.get().catalogue.ngettext(one, many, n)


def class_words(name: str, within: bool = False) -> str:
    """A class of CLASSES; ``within`` a sentence, where English writes it small."""
    return _(_small(CLASS_LABELS[name]) if within else CLASS_LABELS[name])


def part_words(name: str, within: bool = False) -> str:
    """A modality or clinical field, as PART_LABELS names them; ``within`` a sentence, small but for abbreviations."""
    label = PART_LABELS[name]
    return _(_small(label) if within else label)


def _small(label: str) -> str:
    return label if label.isupper() else label.lower()


def method_words(name: str) -> str:
    """A method of explanation."""
    return _(METHOD_LABELS[name])


def extract(package: Path = Path(__file__).parent) -> str:
    """The template (.pot) of every string: of report*.py, of templates/report*.html and of the contract's names.

    Raises
    ------
    ImportError : babel is not installed.
    """
    import io

    from babel.messages.catalog import Catalog
    from babel.messages.extract import extract_from_file
    from babel.messages.pofile import write_po

    catalog = Catalog(project=DOMAIN)
    jinja = {"extensions": "jinja2.ext.i18n", "trimmed": "true", "newstyle_gettext": "true", "silent": "false"}
    for pattern, method, options in (
        ("report*.py", "python", {}),
        ("templates/report*.html", "jinja2.ext:babel_extract", jinja),
    ):
        for path in sorted(package.glob(pattern)):
            for _line, message, comments, context in extract_from_file(method, path, options=options):
                where = (path.relative_to(package).as_posix(), 0)
                catalog.add(message, locations=[where], auto_comments=comments, context=context)
    for labels, where in ((CLASS_LABELS, "contract/colours.py"), (PART_LABELS, "contract/fusion_result.py")):
        for label in labels.values():
            for form in dict.fromkeys((label, _small(label))):
                catalog.add(form, locations=[(where, 0)])
    for label in METHOD_LABELS.values():
        catalog.add(label, locations=[("contract/colours.py", 0)])
    out = io.BytesIO()
    write_po(out, catalog, width=120, omit_header=True, sort_output=True, include_lineno=False)
    return _HEADER + out.getvalue().decode()


if __name__ == "__main__":
    (LOCALE / f"{DOMAIN}.pot").write_text(extract(), encoding="utf-8")
