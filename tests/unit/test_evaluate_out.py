"""`lungxai evaluate --out`: on data that nothing was tuned on, twice the same, pseudonymous; the page stands alone."""

import csv
import html.parser
import json

import foreign_data
import pytest

from shared_models import evidence, evidence_intervals
from shared_models.command_line import main
from shared_models.statistics import bootstrap_ci


def _fewer(patch: pytest.MonkeyPatch) -> None:
    """Few resamples: what is tested here is not the intervals."""
    patch.setattr(evidence_intervals, "RESAMPLES", 60)
    for name in ("ct", "slide", "clinical"):
        patch.setattr(f"shared_models.evaluate_{name}.bootstrap_ci", lambda of, groups: bootstrap_ci(of, groups, n=20))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(data, folder) of one run of the real models."""
    data = foreign_data.written(tmp_path_factory.mktemp("elsewhere"))
    out = tmp_path_factory.mktemp("evidence") / "page"
    with pytest.MonkeyPatch.context() as patch:
        _fewer(patch)
        tasks = [part for name in ("he_tiles", "ct_slices", "ct_malignancy", "clinical") for part in ("--task", name)]
        assert main(["evaluate", "--data", str(data), "--out", str(out), *tasks]) == 0
    return data, out


@pytest.fixture
def few_resamples(monkeypatch):
    _fewer(monkeypatch)


def _json(out):
    return json.loads((out / "evidence.json").read_text())


def test_a_bad_case_is_left_out_with_its_reason(run) -> None:
    with (run[1] / "exclusions.csv").open() as file:
        reasons = {(row["task"], row["case"]): row["reason"] for row in csv.DictReader(file)}
    assert reasons["he_tiles", "tile-00013"] == "the picture is damaged"
    assert "no such file" in reasons["he_tiles", "tile-00014"] and "no such file" in reasons["he_tiles", "tile-00015"]
    assert reasons["he_tiles", "tile-00016"] == "224 x 100 pixels are no tile"
    assert "mesothelioma" in reasons["he_tiles", "tile-00017"] and "small_cell" in reasons["he_tiles", "tile-00018"]
    assert reasons["ct_slices", "nodule-00004"] == "the reader's outline is empty"
    assert reasons["ct_slices", "nodule-00005"] == "its picture is blank"
    assert "pixel size, unknown mm" in reasons["ct_slices", "nodule-00006"]
    assert "archive" in reasons["ct_slices", "nodule-00013"]
    assert "between" in reasons["ct_malignancy", "nodule-00007"]
    assert reasons["ct_malignancy", "nodule-00008"].startswith("no rating")
    assert reasons["clinical", "patient-00001"] == "no clinical field is known"
    figures = {name: task["figures"] for name, task in _json(run[1])["tasks"].items()}
    assert {name: one["n"] for name, one in figures.items()} == {
        "he_tiles": 12, "ct_slices": 9, "ct_malignancy": 7, "clinical": 11,
    }  # fmt: skip


def test_an_absent_class_is_not_made_up(run) -> None:
    figures = _json(run[1])["tasks"]["he_tiles"]["figures"]
    assert figures["confusion"][1] == [0, 0, 0] and "squamous_cell" not in figures["per_class"]
    clinical = _json(run[1])["tasks"]["clinical"]["figures"]
    assert "AUROC" not in clinical["measures"] and clinical["per_class"] == {}
    # There are no cases of the split val to choose on.
    assert "operating_points" not in clinical and "conformal" not in clinical


def test_names_stay_where_they_are(run) -> None:
    for path in run[1].rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not any(name in text for name in foreign_data.NAMES), path


def test_two_runs_differ_in_the_time_only(run, tmp_path, few_resamples) -> None:
    data, out = run
    tasks = ["--task", "ct_slices", "--task", "he_tiles"]
    assert main(["evaluate", "--data", str(data), "--out", str(tmp_path), *tasks]) == 0
    first, second = _json(out), _json(tmp_path)
    for name in ("ct_slices", "he_tiles"):
        assert first["tasks"][name] == second["tasks"][name]
    for name in ("cases_he_tiles_test.csv", "cases_ct_slices_test.csv", "figures/he_tiles_confusion.svg"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_page_is_made_again_without_models(run, few_resamples, monkeypatch) -> None:
    monkeypatch.setattr("shared_models.evaluate._called", None)
    before, page = _json(run[1]), (run[1] / "index.html").read_text()
    (run[1] / "index.html").unlink()
    assert main(["evaluate", "--from", str(run[1])]) == 0
    after = _json(run[1])
    told = before.pop("written"), after.pop("written")
    assert before == after and (run[1] / "index.html").read_text() == page.replace(*told)


def test_answers_of_an_earlier_run_do_not_mix_with_new_ones(run, tmp_path, few_resamples) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "cases_clinical_val.json").write_text("{}")
    (tmp_path / "mine.csv").write_text("mine")
    assert main(["evaluate", "--data", str(run[0]), "--out", str(tmp_path), "--task", "clinical"]) == 0
    assert not (tmp_path / "cases_clinical_val.json").exists() and (tmp_path / "mine.csv").read_text() == "mine"


def test_a_task_that_cannot_use_the_data_does_not_cost_the_others(run, tmp_path, few_resamples, monkeypatch) -> None:
    def broken(*_):
        raise KeyError("JaneDoe")

    monkeypatch.setattr("shared_models.evaluate_ct.evaluate_ct_cubes", broken)
    given = ["--task", "ct_cubes", "--task", "clinical", "--out", str(tmp_path)]
    assert main(["evaluate", "--data", str(run[0]), *given]) == 1
    result = _json(tmp_path)
    assert list(result["tasks"]) == ["clinical"] and "KeyError" in result["failed"]["ct_cubes"]
    page = (tmp_path / "index.html").read_text()
    assert "Not measured:" in page and "JaneDoe" not in page


@pytest.mark.parametrize(("content", "says"), [(None, "holds no run"), ("{", "holds no run"), ("[]", "holds no run")])
def test_a_folder_without_a_run_is_refused(content, says, tmp_path, capsys) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert main(["evaluate", "--from", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_changed_cases_are_refused(run, tmp_path, capsys) -> None:
    (tmp_path / "run.json").write_text((run[1] / "run.json").read_text())
    (tmp_path / "cases_clinical_test.json").write_text((run[1] / "cases_clinical_test.json").read_text())
    text = (run[1] / "cases_clinical_test.csv").read_text().replace("adenocarcinoma", "adenoma")
    (tmp_path / "cases_clinical_test.csv").write_text(text)
    assert main(["evaluate", "--from", str(tmp_path)]) == 2
    assert "cases_clinical_test" in capsys.readouterr().err


class _Reader(html.parser.HTMLParser):
    """What an accessible page that stands alone must not lack."""

    def __init__(self) -> None:
        super().__init__()
        self.faults, self.images, self.captions, self.tables, self.ids = [], 0, [], 0, []
        self._caption = False

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "img":
            self.images += 1
            if not given.get("alt") or not given["src"].startswith("data:image/svg+xml;base64,"):
                self.faults.append(given.get("alt"))
        if tag == "th" and given.get("scope") not in ("row", "col"):
            self.faults.append("th")
        if tag in ("script", "link", "iframe") or str(given.get("href", "#"))[0] != "#":
            self.faults.append(tag)
        self.tables += tag == "table"
        if tag in ("caption", "figcaption"):
            self._caption = True
            self.captions.append("")

    def handle_endtag(self, tag) -> None:
        if tag in ("caption", "figcaption"):
            self._caption = False

    def handle_data(self, data) -> None:
        if self._caption:
            self.captions[-1] += data


def test_the_page_stands_alone_and_every_table_says_what_it_is(run) -> None:
    reader = _Reader()
    reader.feed((run[1] / "index.html").read_text())
    assert not reader.faults and reader.images >= 12 and len(reader.ids) == len(set(reader.ids))
    assert len(reader.captions) == reader.tables + reader.images
    assert all("research use only" in caption.lower() for caption in reader.captions)
    own = [caption for caption in reader.captions if "Split test" in caption]
    assert len(own) >= reader.tables + reader.images - 5 and all("commit" in caption for caption in own)


def test_composed_cases_are_labelled_at_every_table_and_figure(tmp_path, few_resamples) -> None:
    case = {"ids": list("abcdef"), "groups": list("uuvvww"), "labels": ["x", "y"] * 3, "classes": ["x", "y"],
            "probabilities": [[0.9, 0.1], [0.2, 0.8]] * 3, "synthetic": "composed for a test",
            "rivals": {"half": [[0.5, 0.5]] * 6}}  # fmt: skip
    lines = {"l": {"y": [0.5, None], "low": [0, 0], "high": [1, 1]}}
    own = {"cases": case, "tables": [{"title": "T", "columns": ["a"], "rows": [["<b>"]]}],
           "curves": [{"title": "C", "x": [0, 1], "lines": lines}]}  # fmt: skip
    kept = evidence.keep(tmp_path, "fusion", "val", {"parts": {"one": own}})
    run = {"commit": "c" * 40, "split": "val", "data": "d", "models": [], "accounting": [], "tasks": kept}
    evidence.finish(tmp_path, run)
    page = evidence.written(tmp_path).read_text()
    assert (tmp_path / "figures" / "fusion_one_curve1.svg").is_file() and "&lt;b&gt;" in page
    section = page[page.index('id="fusion_one"') : page.index('id="tests"')]
    captions = section.count("<caption>") + section.count("<figcaption>")
    assert captions >= 8 and section.count("Not real cases: composed for a test") >= captions


def test_the_page_in_a_browser_asks_for_nothing_and_fits(run) -> None:
    from shutil import which

    missing = "playwright is not installed: pip install 'lungxai[dev]'"
    sync_api = pytest.importorskip("playwright.sync_api", reason=missing)
    chromium = which("chromium")
    if not chromium:
        pytest.skip("there is no chromium: apt-get install chromium")
    asked, said = [], []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("request", lambda request: asked.append(request.url[:60]))
        page.on("console", lambda message: said.append(message.text))
        page.goto((run[1] / "index.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [(run[1] / "index.html").as_uri()[:60]]
    assert not said and not broken and wide <= 1100
