"""The section Case: clinical form, state of the pathology, fusion, report.

CasePanel   part of panel.Panel
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.errors import LungXAIError
from shared_models.contract.fusion_result import MODALITIES, PART_LABELS, FusionResult
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.values import CLASSES

from . import clinical_form, jobs, record
from .fusion_nodes import MODALITY_NAMES, field_share, known_fields, what_decides
from .results import CaseNodes
from .text import NOT_ASSESSED, probability, tr
from .widgets import Connections, choose, fill, read, text_of
from .workflow import Errand

if TYPE_CHECKING:
    from .panel import Panel

# Class to the bar and the label that show its fused probability.
BARS: Mapping[str, tuple[str, str]] = {
    "adenocarcinoma": ("adenocarcinomaBar", "adenocarcinomaValue"),
    "squamous_cell": ("squamousCellBar", "squamousCellValue"),
    "large_cell": ("largeCellBar", "largeCellValue"),
    "small_cell": ("smallCellBar", "smallCellValue"),
    "normal": ("normalBar", "normalValue"),
}
_BAR_STYLE = (
    "QProgressBar {{ border: 1px solid palette(mid); border-radius: 2px; }}"
    " QProgressBar::chunk {{ background-color: rgb{colour}; }}"
)


class CasePanel:
    """The section."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._nodes: Optional[CaseNodes] = None
        self._case_id = ""
        self._connections = Connections()
        ui = self._ui
        for signal, slot in (
            (ui.ageEdit.textChanged, self._form_changed),
            (ui.packYearsEdit.textChanged, self._form_changed),
            (ui.smokingBox.currentTextChanged, self._form_changed),
            (ui.refreshCaseButton.clicked, self.look_again),
            (ui.fuseButton.clicked, self.fuse),
            (ui.chartButton.clicked, self._chart),
            (ui.reportButton.clicked, self.report),
            (ui.pdfButton.clicked, self.report_pdf),
        ):
            self._connections.add(signal, slot)
        for name, (bar, _) in BARS.items():
            getattr(ui, bar).setStyleSheet(_BAR_STYLE.format(colour=CLASS_COLOURS[name]))

    def close(self) -> None:
        self._connections.undo()
        self._nodes = None

    def refresh(self, free: bool) -> None:
        """Enable what can be done."""
        ui, there = self._ui, self._nodes is not None
        ui.fuseButton.setEnabled(free and there and not self.form().errors)
        ui.refreshCaseButton.setEnabled(free and there)
        ui.reportButton.setEnabled(free and there)
        ui.pdfButton.setEnabled(free and there)
        ui.chartButton.setEnabled(self._nodes is not None and self._nodes.fusion_chart is not None)

    def show(self, nodes: Optional[CaseNodes]) -> None:
        """Show a case, or none."""
        self._nodes = nodes
        if nodes is None:
            self._show_fusion(None)
            self._ui.pathologyLabel.setText(tr("Pathology: no case yet."))
            return
        clinical = record.clinical_of(nodes.record)
        # Fields typed before the first analysis stay; those of one patient never stay for the next.
        if clinical is not None or self._case_id not in ("", nodes.case_id):
            self._set_form(clinical_form.shown(clinical))
        self._case_id = nodes.case_id
        self._show_pathology(record.read(nodes.record).get("pathology"))
        self._show_fusion(record.fusion_of(nodes.record))

    # The form

    def form(self) -> clinical_form.Form:
        """What the form says."""
        ui = self._ui
        sex, smoking = int(read(ui.sexBox, "currentIndex")), int(read(ui.smokingBox, "currentIndex"))
        fields = clinical_form.FIELDS
        return clinical_form.read(
            {
                "age_years": text_of(ui.ageEdit),
                "sex": ("", *fields["sex"].choices)[sex],
                "smoking": ("", *fields["smoking"].choices)[smoking],
                "pack_years": text_of(ui.packYearsEdit),
            }
        )

    def _set_form(self, texts: Mapping[str, str]) -> None:
        ui, fields = self._ui, clinical_form.FIELDS
        ui.ageEdit.setText(texts["age_years"])
        ui.packYearsEdit.setText(texts["pack_years"])
        choose(ui.sexBox, ("", *fields["sex"].choices).index(texts["sex"]))
        choose(ui.smokingBox, ("", *fields["smoking"].choices).index(texts["smoking"]))
        self._form_changed()

    def _form_changed(self) -> None:
        errors = self.form().errors
        for name, label in (("age_years", self._ui.ageError), ("pack_years", self._ui.packYearsError)):
            label.setText(errors.get(name, ""))
            label.setVisible(name in errors)
        self._panel.refresh()

    # Pathology

    def _show_pathology(self, found: Optional[Mapping[str, Any]]) -> None:
        if found is None:
            text = tr("Pathology: missing. Send the slide from QuPath under the case's identifier.")
        else:
            text = tr("Pathology: slide {slide}, {tiles} tiles.").format(slide=found["slide_id"], tiles=found["tiles"])
        self._ui.pathologyLabel.setText(text)

    def look_again(self) -> None:
        """Ask the server whether the pathology has arrived."""
        if self._nodes is None:
            return
        shown = record.read(self._nodes.record).get("pathology")

        def told(case: Mapping[str, Any]) -> None:
            slides = case.get("slides") or []
            if case.get("pathology"):
                text = tr("Pathology: arrived. Press Fuse to take it in.") if shown is None else None
            elif slides:
                text = tr("Pathology: tiles of {count} slide(s) arrived, not analysed yet.").format(count=len(slides))
            else:
                text = tr("Pathology: missing. Send the slide from QuPath under the case's identifier.")
            if text is not None:
                self._ui.pathologyLabel.setText(text)

        self._ask(tr("pathology"), jobs.standing, told)

    # Fusion and report

    def fuse(self) -> None:
        """Send the clinical fields and join what there is."""
        form, nodes = self.form(), self._nodes
        if form.fields is None or nodes is None:
            return
        fields, panel = form.fields, self._panel
        try:
            address = panel.address()
        except LungXAIError as fault:
            panel.say(fault)
            return
        panel.run(
            Errand(
                tr("fusion"),
                lambda: jobs.fuse(address, nodes.case_id, fields),
                lambda case: panel.deliver(nodes.ct, case),
            )
        )

    def report(self) -> None:
        """Open the server's report of the case."""
        panel = self._panel

        def written(page: str) -> None:
            panel.host.open_file(panel.new_file("report.html", page.encode()))

        self._ask(tr("report"), jobs.report, written)

    def report_pdf(self) -> None:
        """Open the report as PDF; the server lays it out, which takes it some seconds."""
        panel = self._panel

        def written(pdf: bytes) -> None:
            panel.host.open_file(panel.new_file("report.pdf", pdf))

        self._ask(tr("report"), jobs.report_pdf, written)

    def _ask(self, title: str, job: Any, deliver: Any) -> None:
        if self._nodes is None:
            return
        case_id = self._nodes.case_id
        try:
            address = self._panel.address()
        except LungXAIError as fault:
            self._panel.say(fault)
            return
        self._panel.run(Errand(title, lambda: job(address, case_id), deliver))

    def _chart(self) -> None:
        if self._nodes is not None and self._nodes.fusion_chart is not None:
            self._panel.logics.plots.ShowChartInLayout(self._nodes.fusion_chart)

    def _show_fusion(self, fusion: Optional[FusionResult]) -> None:
        for name, (bar, label) in BARS.items():
            value = None if fusion is None else fusion.probabilities[name]
            getattr(self._ui, bar).setValue(int(round(1000 * (value or 0.0))))
            getattr(self._ui, label).setText("-" if fusion is None else probability(value))
            for widget in (getattr(self._ui, bar), getattr(self._ui, label)):
                widget.setEnabled(value is not None)
        header = [tr("Modality"), tr("Weight"), *(tr(CLASS_LABELS[name]) for name in CLASSES)]
        rows = [] if fusion is None else [_row(fusion, modality) for modality in MODALITIES]
        for field in [] if fusion is None else known_fields(fusion):
            shares = [field_share(fusion, field, name) for name in CLASSES]
            rows.append([tr("of these: {field}").format(field=tr(PART_LABELS[field])), "", *shares])
        fill(self._panel.host.qt, self._ui.contributionTable, header, rows, tr(NOT_ASSESSED))
        self._ui.fusionLabel.setText("" if fusion is None else _in_words(fusion))


def _row(fusion: FusionResult, modality: str) -> list[str]:
    name = tr(MODALITY_NAMES[modality])
    if modality in fusion.missing:
        return [name, tr("missing"), *(tr("missing") for _ in CLASSES)]
    values = (fusion.contributions[modality].get(c) for c in CLASSES)
    cells = [tr(NOT_ASSESSED) if value is None else f"{value:+.2f}" for value in values]
    return [name, f"{fusion.weights[modality]:.2f}", *cells]


def _in_words(fusion: FusionResult) -> str:
    """Agreement, what is missing, what is left to the classes that nothing assessed, and what the answer hangs on."""
    lines = [fusion.agreement]
    if fusion.missing:
        names = ", ".join(tr(MODALITY_NAMES[modality]) for modality in fusion.missing)
        lines.append(tr("Missing: {names}.").format(names=names))
    if fusion.not_assessed_mass > 0:
        share = probability(fusion.not_assessed_mass)
        lines.append(tr("{share} is left to the classes that nothing assessed.").format(share=share))
    if fusion.abstention is not None:
        lines.append(f"{fusion.abstention.reason} {fusion.abstention.what_would_help}")
    lines += [set_words(fusion), *reliability_words(fusion)]
    lines += what_decides(fusion)
    return "\n".join(line for line in lines if line)
