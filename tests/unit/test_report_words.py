"""The report's strings: each can be translated, the template for translators is up to date, the language holds."""

import ast
import dataclasses
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_cases import GALLERY, case, ct

from inference_server import report_words
from inference_server.report import render
from inference_server.report_words import Words, class_words, ngettext, part_words, speaking
from shared_models.contract.errors import InvalidInput
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.heatmap_words import title, trust

TEMPLATES = Path(report_words.__file__).parent / "templates"
OPEN, CLOSE = "\u27e6", "\u27e7"
MADE = re.compile(r"[a-z]{2,}[,;:]? [a-z]{2,}", re.I)  # two words or more: prose
MARKUP = re.compile(r"[<=]|serif|^#|\{:")  # and words of a figure of another command
LITERATURE = re.compile(r"\b(19|20)\d\d\b|arXiv")  # who, where, when: the same in every language
OF_THE_REPORT = [p for p in sorted(Path(report_words.__file__).parent.glob("report*.py"))
                 if p.name not in ("report_pdf.py", "report_command.py", "report_of_case.py")]  # fmt: skip


def test_the_template_for_translators_is_up_to_date() -> None:
    pytest.importorskip("babel", reason="babel, a tool of developers, is not installed")
    held = (report_words.LOCALE / "lungxai.pot").read_text(encoding="utf-8")
    assert held == report_words.extract(), "run: python -m inference_server.report_words"
    assert 'msgid "Research use only, not a diagnosis"' in held and 'msgid "adenocarcinoma"' in held


def test_a_translation_is_used_where_it_is_asked_for_and_only_there(tmp_path) -> None:
    mofile = pytest.importorskip("babel.messages.mofile")
    from babel.messages.catalog import Catalog

    catalog = Catalog(locale="de")
    catalog.add("Adenocarcinoma", "Adenokarzinom")
    catalog.add("Page {page} of {pages}", "Seite {page} von {pages}")
    catalog.add("No slide was analysed.", "Kein Schnitt.")
    (tmp_path / "de" / "LC_MESSAGES").mkdir(parents=True)
    with (tmp_path / "de" / "LC_MESSAGES" / "lungxai.mo").open("wb") as file:
        mofile.write_mo(file, catalog)
    words = Words.of("de", tmp_path)
    text = render(case(**ct(1)), words=words)
    assert '<html lang="de">' in text and "Adenokarzinom" in text and "Kein Schnitt." in text
    assert '"Seite " counter(page) " von " counter(pages)' in text and ">Adenocarcinoma<" not in text
    assert class_words("adenocarcinoma") == "Adenocarcinoma"  # outside it the language is English again
    with pytest.raises(InvalidInput, match="not translated"):
        Words.of("fr", tmp_path)


def test_names_of_the_contract_are_translated_also_within_a_sentence() -> None:
    assert part_words("radiology", within=True) == "CT" and part_words("pathology", within=True) == "slide"
    with speaking(Words.pseudo()):
        assert class_words("small_cell", within=True) == f"{OPEN}small cell carcinoma{CLOSE}"
        assert ngettext("one", "many", 2) == f"{OPEN}many{CLOSE}"


class Reader(HTMLParser):
    """Every text that a reader of the page meets, also what is said instead of a picture."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.silent = False
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.silent = tag in ("style", "code")
        self.said += [value for name, value in attrs if name in ("alt", "aria-label", "title")]

    def handle_endtag(self, tag) -> None:
        self.silent = False

    def handle_data(self, data) -> None:
        if not self.silent:
            self.said.append(data)


def strings_of(value) -> set[str]:
    """Every string within a value of the contract: data, or a sentence that a result brings."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return set().union(*(strings_of(v) for pair in value.items() for v in pair))
    if isinstance(value, (tuple, list)):
        return set().union(*(strings_of(v) for v in value))
    if dataclasses.is_dataclass(value):
        return set().union(*(strings_of(getattr(value, f.name)) for f in dataclasses.fields(value)))
    return set()


def outside(text: str) -> str:
    """What is left of ``text`` without its bracketed parts, which may lie in each other, or be cut at the end."""
    shorter = re.sub(f"{OPEN}[^{OPEN}{CLOSE}]*({CLOSE}|$)", " ", text)
    return text if shorter == text else outside(shorter)


def test_no_string_of_the_page_is_left_untranslated() -> None:
    """In a language that brackets each string, letters outside brackets are data or what the contract says."""
    record = GALLERY["board"]()
    text = render(record, words=Words.pseudo())
    assert f"<title>{OPEN}LungXAI case" in text
    data = strings_of(record) | set(reliability_words(record.fusion)) | {set_words(record.fusion)}
    for heatmap in (*record.ct_heatmaps.values(), *record.slide_heatmaps.values()):
        data |= {title(heatmap), trust(heatmap)}
    data |= {by.model_id for by in (*record.fusion.provenance, *record.radiology.provenance)} | {"UTC", "…", "cpu"}
    known = sorted((" ".join(d.split()) for d in data if d.strip()), key=len, reverse=True)
    # What lies behind the first page quotes guidelines and bundles: their sentences are checked below, in the source.
    quoting = re.compile(r'<section class="details[^"]*" id="(ct|slide|clinical|limits)">.*?</section>', re.S)
    left = []
    for said in Reader(quoting.sub("", text)).said:
        # A sentence that was shortened is one that begins as a known one does.
        pieces = [piece.strip() for piece in " ".join(outside(said).split()).split("…")]
        rest = " ".join(piece for piece in pieces if not any(words.startswith(piece) for words in known))
        for words in known:
            rest = rest.replace(words, " ")
        if re.search("[A-Za-z]{2,}", rest):
            left.append(rest)
    assert not left
    assert len(Reader(text).said) > 200


@pytest.mark.parametrize("path", OF_THE_REPORT, ids=lambda p: p.name)
def test_prose_in_the_source_goes_through_gettext(path) -> None:
    """Every string of two words or more is translated, a docstring, an error, markup, or a reference."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exempt: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in ("_", "ngettext")
            or isinstance(node, ast.Raise)
        ):
            exempt |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            exempt.add(id(node.body[0].value))
    strings = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in exempt)
    prose = [s for s in strings if isinstance(s, str) and MADE.search(s) and not LITERATURE.search(s)]
    assert not [s for s in prose if not MARKUP.search(s)]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("report*.html")), ids=lambda p: p.name)
def test_words_in_a_template_go_through_gettext(path) -> None:
    text = re.sub("{#.*?#}", "", path.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"{% *trans\b.*?endtrans *%}", "", text, flags=re.S)
    text = re.sub(r"{%.*?%}|{{.*?}}", " ", text, flags=re.S)
    said = re.findall(r'\b(?:alt|aria-label|title|caption)="([^"]*)"', text) + [re.sub("<[^>]*>", " ", text)]
    assert not re.search("[A-Za-z]{2,}", " ".join(said))
