"""The section Results: the case that is shown, its nodules, its heatmaps.

ResultsPanel   part of panel.Panel
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from shared_models.contract.errors import InvalidInput, LungXAIError
from shared_models.contract.results import CT_TARGETS

from . import heat_labels, heatmaps, jobs, nodules, record, results, segmentations
from .case_results import CaseResults
from .corrections import corrected_labels
from .results import CaseNodes
from .text import NOT_ASSESSED, probability, tr
from .widgets import Connections, choices, choose, fill, read
from .workflow import Errand

if TYPE_CHECKING:
    from .panel import Panel

_NONE = "none"
_SIDE_BY_SIDE = 0


class ResultsPanel:
    """The section.

    Attributes
    ----------
    nodes : the case that is shown; None without one
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui, self._logics = panel.ui, panel.logics
        self.nodes: Optional[CaseNodes] = None
        self._every: list[CaseNodes] = []
        self._filling = False
        self._connections = Connections()
        ui = self._ui
        for signal, slot in (
            (ui.shownBox.currentTextChanged, self._chosen),
            (ui.noduleTable.currentCellChanged, self._jump),
            (ui.nextNoduleButton.clicked, self.next_nodule),
            (ui.show3dButton.clicked, self._show_3d),
            (ui.reclassifyButton.clicked, self.reclassify),
            (ui.heatmapBox.currentTextChanged, self.draw),
            (ui.opacitySlider.valueChanged, self.draw),
            (ui.thresholdSlider.valueChanged, self.draw),
            (ui.compareBox.currentTextChanged, self.draw),
            (ui.compareModeBox.currentTextChanged, self.draw),
        ):
            self._connections.add(signal, slot)

    def close(self) -> None:
        self._connections.undo()
        self.forget()

    def forget(self) -> None:
        """Let go of every node: the scene is about to be emptied."""
        self.nodes, self._every = None, []
        self._show_nothing()

    def refresh(self, free: bool) -> None:
        """Enable what can be done."""
        ui = self._ui
        ui.shownBox.setEnabled(free and bool(self._every))
        ui.reclassifyButton.setEnabled(free and self.nodes is not None)
        for widget in (ui.nextNoduleButton, ui.show3dButton):
            widget.setEnabled(self.nodes is not None)
        maps = 0 if self.nodes is None else len(self.nodes.heatmaps)
        for widget in (ui.heatmapBox, ui.opacitySlider, ui.thresholdSlider):
            widget.setEnabled(maps > 0)
        for widget in (ui.compareBox, ui.compareModeBox):
            widget.setEnabled(maps > 1)

    # Which case

    def take(self, ct_node: Any, case: CaseResults) -> None:
        """Put a case into the scene and show it."""
        nodes = results.import_case(self._logics, ct_node, case)
        self.rescan(nodes.case_id)

    def rescan(self, case_id: str = "") -> None:
        """Look which cases the scene holds; show ``case_id``, or the one that was shown, or the first."""
        wanted = case_id or ("" if self.nodes is None else self.nodes.case_id)
        self._every = results.case_nodes(self._logics)
        choices(self._ui.shownBox, [_title(nodes) for nodes in self._every])
        ids = [nodes.case_id for nodes in self._every]
        place = ids.index(wanted) if wanted in ids else 0
        if self._every:
            choose(self._ui.shownBox, place)
        found = self._every[place] if self._every else None
        if found is not None and self.nodes is not None and found.record is self.nodes.record:
            return  # as it is shown already; the views stay as the user left them
        self._show(found)

    def ct_of(self, case_id: str) -> Optional[Any]:
        """The CT of a case of the scene; None where there is no such case."""
        return next((nodes.ct for nodes in self._every if nodes.case_id == case_id), None)

    def _chosen(self) -> None:
        place = int(read(self._ui.shownBox, "currentIndex"))
        self._show(self._every[place] if 0 <= place < len(self._every) else None)

    def _show(self, nodes: Optional[CaseNodes]) -> None:
        self.nodes = nodes
        if nodes is None:
            self._show_nothing()
        else:
            self._filling = True
            try:
                self._fill(nodes)
            finally:
                self._filling = False
            self.draw()
        self._panel.case.show(nodes)
        self._panel.refresh()

    def _show_nothing(self) -> None:
        self._filling = True
        try:
            ui = self._ui
            ui.summaryLabel.setText(tr("No results yet."))
            fill(self._panel.host.qt, ui.noduleTable, nodules.columns(), [], "")
            for box in (ui.shownBox, ui.heatmapBox, ui.compareBox):
                choices(box, [])
            self._say_of(())
        finally:
            self._filling = False

    def _fill(self, nodes: CaseNodes) -> None:
        ui, table = self._ui, nodes.table
        # What matters most stands where it is seen without scrolling.
        first = (tr("Nodule"), tr("Malignancy"))
        columns = sorted(range(table.GetNumberOfColumns()), key=lambda c: table.GetColumnName(c) not in first)
        rows = [[table.GetCellText(row, column) for column in columns] for row in range(table.GetNumberOfRows())]
        header = [table.GetColumnName(column) for column in columns]
        fill(self._panel.host.qt, ui.noduleTable, header, rows, tr(NOT_ASSESSED))
        ui.summaryLabel.setText(_summary(nodes))
        names = [heatmaps.label_of(key) for key in nodes.heatmaps]
        choices(ui.heatmapBox, [*names, tr(_NONE)])
        choices(ui.compareBox, [tr(_NONE), *names])
        ui.show3dButton.setChecked(bool(nodes.segmentation.GetDisplayNode().GetVisibility3D()))

    # What is done with it

    def present(self) -> CaseNodes:
        """The case that is shown.

        Raises
        ------
        InvalidInput : there is none, or its nodes were deleted.
        """
        nodes = self.nodes
        if nodes is None:
            raise InvalidInput(tr("No case is shown."), tr("Analyse a CT first."))
        scene = self._logics.scene
        needed = (nodes.ct, nodes.segmentation, nodes.markups, nodes.table, nodes.record, *nodes.heatmaps.values())
        if any(scene.GetNodeByID(node.GetID() or "") is not node for node in needed):
            self.rescan()
            raise InvalidInput(tr("Parts of this case were deleted from the scene."), tr("Analyse the CT again."))
        return nodes

    def _jump(self) -> None:
        row = int(self._ui.noduleTable.currentRow())
        if self._filling or row < 0:
            return
        try:
            nodules.jump_to(self._logics, self.present(), row)
        except LungXAIError as fault:
            self._panel.say(fault)

    def next_nodule(self) -> None:
        """Jump to the next row, from the last one to the first."""
        table = self._ui.noduleTable
        rows = 0 if self.nodes is None else self.nodes.table.GetNumberOfRows()
        if rows == 0:
            return
        place = (int(table.currentRow()) + 1) % rows
        if place == int(table.currentRow()):
            self._jump()
        table.setCurrentCell(place, 0)

    def _show_3d(self) -> None:
        try:
            segmentations.show_3d(self.present().segmentation, bool(read(self._ui.show3dButton, "checked")))
        except LungXAIError as fault:
            self._panel.say(fault)

    def draw(self) -> None:
        """Lay the chosen heatmap, or two, over the CT."""
        if self._filling or self.nodes is None:
            return
        ui = self._ui
        try:
            nodes = self.present()
            first = _key(nodes, read(ui.heatmapBox, "currentIndex"))
            second = _key(nodes, read(ui.compareBox, "currentIndex") - 1)
            look = {"opacity": float(read(ui.opacitySlider, "value"))}
            look["threshold"] = float(read(ui.thresholdSlider, "value"))
            if first is None or second is None or first == second:
                shown = (heatmaps.show(self._logics, nodes, first, **look),)
            else:
                beside = read(ui.compareModeBox, "currentIndex") == _SIDE_BY_SIDE
                shown = heatmaps.compare(self._logics, nodes, first, second, None if beside else 0.5, **look)
            self._say_of(shown)
        except LungXAIError as fault:
            self._panel.say(fault)

    def _say_of(self, shown: Sequence[Any]) -> None:
        """How far the maps that are shown can be trusted."""
        maps = [node for node in shown if node is not None]
        warnings = list(dict.fromkeys(heat_labels.trust_of(node) for node in maps if heat_labels.fails(node)))
        captions = [heat_labels.caption(node) for node in maps]
        # The name of a single map stands in the box above.
        lines = captions[0][1:] if len(captions) == 1 else [line for lines in captions for line in lines]
        lines = [line for line in lines if line not in warnings]
        for label, words in ((self._ui.heatmapWarningLabel, warnings), (self._ui.heatmapTrustLabel, lines)):
            label.setText("\n".join(words))
            label.setVisible(bool(words))

    def reclassify(self) -> None:
        """Let the server measure and classify the segmentation as it was corrected."""
        panel = self._panel
        try:
            nodes, address = self.present(), panel.address()
        except LungXAIError as fault:
            panel.say(fault)
            return
        explain = tuple(dict.fromkeys(method for method, _ in nodes.heatmaps))
        target = next((target for _, target in nodes.heatmaps if target in CT_TARGETS), None)

        def prepare() -> jobs.Work:
            return jobs.reclassify(address, nodes.case_id, corrected_labels(self.present()), explain, target)

        panel.run(Errand(tr("corrected segmentation"), prepare, lambda case: panel.deliver(nodes.ct, case)))


def _key(nodes: CaseNodes, place: int) -> Optional[heatmaps.Key]:
    keys = list(nodes.heatmaps)
    return keys[place] if 0 <= place < len(keys) else None


def _title(nodes: CaseNodes) -> str:
    return f"{nodes.ct.GetName()} ({nodes.case_id})"


def _summary(nodes: CaseNodes) -> str:
    """The result in a few lines."""
    result = record.radiology_of(nodes.record)
    lines = []
    if record.read(nodes.record).get("synthetic"):
        lines.append(tr("Synthetic: drawn, not a patient."))
    lines.append(
        tr("{count} nodule(s); malignancy of the case: {value}.").format(
            count=len(result.nodules), value=probability(result.malignancy)
        )
    )
    if result.abstention is not None:
        lines.append(f"{result.abstention.reason} {result.abstention.what_would_help}")
    lines += result.notes
    return "\n".join(lines)
