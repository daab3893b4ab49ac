"""Panel: the module's widgets bound to the workflow. No Slicer class but MRML nodes, no Qt class but through ``host``.

Host          what the panel needs of the application that it is in
Panel         server, CT, running, cancelling; the sections of the results are in results_panel.py and case_panel.py

    Server    test_server, start_server, stop_server
    CT        analyse, analyse_all, reclassify
    any time  cancel, tick, refresh
    module    enter, exit, scene_closing, close
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from shared_models.contract.errors import InvalidInput, LungXAIError

from . import jobs, server_connection, shortcuts
from .batch import SYNTHETIC, chosen, summary
from .case_panel import CasePanel
from .case_results import CaseResults
from .local_server import LocalServer, default_data_dir
from .logics import SceneLogics
from .places import pointed, start_placing
from .preferences import Preferences, token_in
from .pump import Talk, in_words
from .results_panel import ResultsPanel
from .server_connection import Address, ConnectionReport
from .text import tr
from .volumes import volume_of
from .widgets import Connections, read, text_of
from .workflow import CANCELLING, DONE, FAILED, RUNNING, Errand, Workflow

METHOD_CHECKS: Mapping[str, str] = {
    "gradcam": "gradcamCheck",
    "gradcam_pp": "gradcamPpCheck",
    "integrated_gradients": "integratedGradientsCheck",
    "occlusion": "occlusionCheck",
    "saliency": "saliencyCheck",
    "smoothgrad": "smoothgradCheck",
}
# What heatmaps explain, in the order of targetBox; None leaves it to the server.
TARGETS: tuple[Optional[str], ...] = (None, "malignancy", "nodule")
TICK_MS = 40
_THIS_NODULE = 1  # place in scopeBox
_RED, _GREEN, _GREY = "#b00020", "#1b7837", "palette(window-text)"


@dataclass
class Host:
    """What the panel needs of the application.

    Parameters
    ----------
    qt : Qt's classes under one name, as Slicer's ``qt`` has them
    on_node_chosen : connects a callback to a node selector; the function that disconnects it
    open_file : opens a file of this machine in its program
    variables : environment for a local server, without the application's own
    data_dir : of a local server
    """

    qt: Any
    on_node_chosen: Callable[[Any, Callable[..., None]], Callable[[], None]]
    open_file: Callable[[str], None]
    variables: Mapping[str, str] = field(default_factory=dict)
    data_dir: Path = field(default_factory=default_data_dir)


class Panel:
    """The panel.

    Parameters
    ----------
    ui : the widgets of SlicerLungXAI.ui by name
    logics : scene and module logics
    host : the application
    preferences : what is remembered between sessions
    """

    def __init__(self, ui: Any, logics: SceneLogics, host: Host, preferences: Preferences) -> None:
        self.ui, self.logics, self.host, self.preferences = ui, logics, host, preferences
        self.workflow = Workflow(self.refresh)
        self.server: Optional[LocalServer] = None
        self.report: Optional[ConnectionReport] = None
        self._own: Optional[Address] = None
        self._folder: Optional[str] = None
        self._connections = Connections()
        self._remove_shortcuts: Callable[[], None] = lambda: None
        self._batch = False
        self._timer = host.qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._connections.add(self._timer.timeout, self.tick)
        self.results = ResultsPanel(self)
        self.case = CasePanel(self)
        self._set_up()
        self.refresh()

    # Set up and take down

    def _set_up(self) -> None:
        ui, preferences = self.ui, self.preferences
        ui.urlEdit.setText(preferences.url)
        ui.tokenFileEdit.setCurrentPath(preferences.token_file)
        ui.commandEdit.setCurrentPath(preferences.command)
        for method, name in METHOD_CHECKS.items():
            getattr(ui, name).setChecked(method in preferences.methods)
        remembered = preferences.target or None
        ui.targetBox.setCurrentIndex(TARGETS.index(remembered) if remembered in TARGETS else 0)
        for keys, name in shortcuts.SHORTCUTS.items():
            button = getattr(ui, name)
            button.setToolTip(f"{read(button, 'toolTip')} ({keys})")
        for signal, slot in (
            (ui.testButton.clicked, self.test_server),
            (ui.startServerButton.clicked, self.start_server),
            (ui.stopServerButton.clicked, self.stop_server),
            (ui.urlEdit.textChanged, self._address_changed),
            (ui.consentCheck.clicked, self._consented),
            (ui.placePointButton.clicked, lambda: self._place("point")),
            (ui.placeBoxButton.clicked, lambda: self._place("box")),
            (ui.scopeBox.currentTextChanged, self.refresh),
            (ui.allMethodsButton.clicked, self.tick_all_methods),
            (ui.analyseButton.clicked, self.analyse),
            (ui.batchButton.clicked, self.analyse_all),
            (ui.cancelButton.clicked, self.cancel),
        ):
            self._connections.add(signal, slot)
        self._undo_chosen = self.host.on_node_chosen(ui.ctSelector, self._ct_chosen)
        self._address_changed()

    def enter(self) -> None:
        """The module is shown."""
        self.exit()
        self._remove_shortcuts = shortcuts.install(self.host.qt, self.ui, self.ui.runFrame)
        self.results.rescan()
        self.refresh()

    def exit(self) -> None:
        """The module is left; what is under way goes on."""
        self._remove_shortcuts()
        self._remove_shortcuts = lambda: None

    def scene_closing(self) -> None:
        """The scene is about to be emptied: a job is stopped, and its result left out."""
        self.workflow.cancel(tr("The scene was closed, so the job was stopped."))
        self.results.forget()

    def close(self) -> None:
        """The module goes away: nothing is left running."""
        self.exit()
        self._timer.stop()
        self.workflow.close()
        if self.server is not None:
            self.server.stop()
            self.server = None
        self._connections.undo()
        self._undo_chosen()
        self._undo_chosen = lambda: None
        self.results.close()
        self.case.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    # Running

    def run(self, *errands: Errand, batch: bool = False) -> None:
        """Start errands."""
        if self.workflow.busy:
            return
        self._batch = batch
        self._timer.start()
        self.workflow.start(errands)

    def tick(self) -> None:
        """Take up news; called by the timer while something is under way."""
        self.workflow.tick()
        if not self.workflow.busy:
            self._timer.stop()

    def cancel(self) -> None:
        """Stop what is under way, on the server too."""
        self.workflow.cancel()

    def refresh(self) -> None:
        """Show the state of the workflow."""
        ui, workflow = self.ui, self.workflow
        free = not workflow.busy
        has_ct = ui.ctSelector.currentNode() is not None
        ui.progressBar.setValue(int(1000 * workflow.fraction))
        ui.stageLabel.setText(self._stage())
        ui.messageLabel.setText(f"{workflow.message} {workflow.remedy}".strip())
        ui.messageLabel.setStyleSheet(f"color: {_RED if workflow.state == FAILED else _GREY}")
        ui.messageLabel.setVisible(bool(workflow.message))
        ui.cancelButton.setEnabled(workflow.state == RUNNING)
        ui.testButton.setEnabled(free)
        ui.startServerButton.setEnabled(free and self.server is None)
        ui.stopServerButton.setEnabled(free and self.server is not None)
        ui.analyseButton.setEnabled(free and has_ct)
        ui.batchButton.setEnabled(free and has_ct)
        pointing = read(ui.scopeBox, "currentIndex") == _THIS_NODULE
        for widget in (ui.placeSelector, ui.placePointButton, ui.placeBoxButton, ui.placeLabel):
            widget.setEnabled(pointing)
        ui.outcomeList.setVisible(self._batch and bool(workflow.outcomes))
        if self._batch and read(ui.outcomeList, "count") != len(workflow.outcomes):
            ui.outcomeList.clear()
            for line in summary(workflow.outcomes):
                ui.outcomeList.addItem(line)
        self.results.refresh(free)
        self.case.refresh(free)

    def _stage(self) -> str:
        workflow = self.workflow
        if workflow.state == CANCELLING:
            return tr("Stopping ...")
        if workflow.state == DONE:
            return tr("Done.")
        if workflow.state != RUNNING:
            return tr("Failed.") if workflow.state == FAILED else tr("Ready.")
        place = f"{len(workflow.outcomes) + 1}/{workflow.count}: " if workflow.count > 1 else ""
        percent = f"{100 * workflow.fraction:.0f} %"
        return f"{place}{workflow.stage}, {percent}{self._left()}"

    def _left(self) -> str:
        seconds = self.workflow.seconds_left
        if seconds is None:
            return ""
        if seconds < 90:
            return tr(", about {n:.0f} s left").format(n=seconds)
        return tr(", about {n:.0f} min left").format(n=seconds / 60)

    def say(self, fault: BaseException) -> None:
        """Show an error that came before anything was started."""
        shown = in_words(fault)
        self.ui.messageLabel.setText(str(shown))
        self.ui.messageLabel.setStyleSheet(f"color: {_RED}")
        self.ui.messageLabel.setVisible(True)

    # Server

    def address(self) -> Address:
        """The server that the panel names.

        Raises
        ------
        InvalidInput : the token file cannot be read.
        """
        url = text_of(self.ui.urlEdit)
        if self._own is not None and self._own.url == url:
            return self._own
        token, path = text_of(self.ui.tokenEdit), str(read(self.ui.tokenFileEdit, "currentPath")).strip()
        if not token and path:
            token = token_in(path)
        return Address(url, token, bool(read(self.ui.consentCheck, "checked")))

    def _address_changed(self) -> None:
        url = text_of(self.ui.urlEdit)
        remote = server_connection.needs_consent(url)
        self.ui.consentCheck.setVisible(remote)
        self.ui.consentCheck.setChecked(remote and self.preferences.consented(server_connection.host_of(url)))
        self.report = None
        self._show_server(tr("Not tested yet."), _GREY)

    def _consented(self) -> None:
        host = server_connection.host_of(text_of(self.ui.urlEdit))
        self.preferences.consent(host, bool(read(self.ui.consentCheck, "checked")))

    def _remember(self) -> None:
        """Keep what worked."""
        ui, preferences = self.ui, self.preferences
        if self._own is None:
            preferences.url = text_of(ui.urlEdit)
        preferences.token_file = str(read(ui.tokenFileEdit, "currentPath"))
        preferences.command = str(read(ui.commandEdit, "currentPath"))

    def test_server(self) -> None:
        """Look whether the server can be used."""
        try:
            address = self.address()
        except LungXAIError as fault:
            self._show_server(str(fault), _RED)
            return

        def work(talk: Talk) -> ConnectionReport:
            talk.progress(tr("asking the server"), 0.2)
            return server_connection.test_connection(address.url, address.token, address.consent)

        self.run(Errand(tr("connection"), lambda: work, self._tested))

    def _tested(self, report: ConnectionReport) -> None:
        self.report = report
        lines = [f"{report.message} {report.remedy}".strip()]
        self._show_server("\n".join(lines), _GREEN if report.ok else _RED)
        self.ui.coverageLabel.setText("\n".join(server_connection.coverage_in_words(report)))
        if report.ok:
            self._remember()
        if report.kind == "ready":
            self.ui.serverSection.setProperty("collapsed", True)
        for method, name in METHOD_CHECKS.items():
            getattr(self.ui, name).setEnabled(not report.methods or method in report.methods)

    def _show_server(self, text: str, colour: str) -> None:
        self.ui.serverStatusLabel.setText(text)
        self.ui.serverStatusLabel.setStyleSheet(f"color: {colour}")
        self.ui.coverageLabel.setText("")

    def start_server(self) -> None:
        """Start a server on this machine."""
        if self.server is not None or self.workflow.busy:
            return
        command = str(read(self.ui.commandEdit, "currentPath")).strip()
        server = LocalServer(self.host.data_dir, command, self.host.variables)

        def started(report: ConnectionReport) -> None:
            self.server, self._own = server, server.address
            assert self._own is not None
            self.ui.urlEdit.setText(self._own.url)
            self._tested(report)

        self.run(Errand(tr("local server"), lambda: server.start, started))

    def stop_server(self) -> None:
        """Stop the server that was started here."""
        server, self.server, self._own = self.server, None, None
        if server is None:
            return

        def work(talk: Talk) -> None:
            talk.progress(tr("stopping the server"), 0.5)
            server.stop()

        self.ui.urlEdit.setText(self.preferences.url)
        self.run(Errand(tr("local server"), lambda: work))

    # CT

    def _ct_chosen(self, *_: Any) -> None:
        ui, node = self.ui, self.ui.ctSelector.currentNode()
        owner = self.results.ct_of(text_of(ui.caseEdit))
        # The case of one patient must not take in the CT of the next one.
        if node is not None and owner is not None and owner is not node:
            ui.caseEdit.setText("")
        self.refresh()

    def _place(self, kind: str) -> None:
        self.ui.placeSelector.setCurrentNode(start_placing(self.logics, kind))

    def methods(self) -> tuple[str, ...]:
        """Heatmap methods that are ticked."""
        return tuple(method for method, name in METHOD_CHECKS.items() if read(getattr(self.ui, name), "checked"))

    def tick_all_methods(self) -> None:
        """Tick every heatmap method that the server has."""
        for name in METHOD_CHECKS.values():
            box = getattr(self.ui, name)
            box.setChecked(bool(read(box, "enabled")))

    def target(self) -> Optional[str]:
        """What the heatmaps are to explain, of results.CT_TARGETS; None leaves it to the server."""
        return TARGETS[int(read(self.ui.targetBox, "currentIndex"))]

    def analyse(self) -> None:
        """Analyse the chosen CT."""
        try:
            address = self.address()
            points, boxes = (), ()
            if read(self.ui.scopeBox, "currentIndex") == _THIS_NODULE:
                points, boxes = pointed(self.ui.placeSelector.currentNode())
        except LungXAIError as fault:
            self.say(fault)
            return
        case_id, methods = text_of(self.ui.caseEdit), self._wanted_methods()
        question = jobs.Question(case_id, False, points, boxes, methods, self.target())
        self.run(self._errand(address, self.ui.ctSelector.currentNode(), question))

    def analyse_all(self) -> None:
        """Analyse every CT that is loaded, each as a case of its own."""
        try:
            address = self.address()
        except LungXAIError as fault:
            self.say(fault)
            return
        question = jobs.Question(explain=self._wanted_methods(), target=self.target())
        self.run(*(self._errand(address, node, question) for node in chosen(self.logics.scene)), batch=True)

    def _wanted_methods(self) -> tuple[str, ...]:
        self.preferences.methods = self.methods()
        self.preferences.target = self.target() or ""
        return jobs.known(self.methods(), None if self.report is None else self.report.methods)

    def _errand(self, address: Address, ct_node: Any, question: jobs.Question) -> Errand:
        def prepare() -> jobs.Work:
            self._check_there(ct_node)
            synthetic = ct_node.GetAttribute(SYNTHETIC) == "1"
            return jobs.analyse(address, volume_of(ct_node), jobs.as_synthetic(question, synthetic))

        return Errand(
            "" if ct_node is None else str(ct_node.GetName()), prepare, lambda case: self.deliver(ct_node, case)
        )

    def deliver(self, ct_node: Any, case: CaseResults) -> None:
        """Put a case into the scene, under its CT.

        Raises
        ------
        InvalidInput : the CT is gone.
        """
        self._check_there(ct_node, case.case_id)
        self.results.take(ct_node, case)
        if not self._batch:
            self.ui.caseEdit.setText(case.case_id)

    def _check_there(self, ct_node: Any, case_id: str = "") -> None:
        if ct_node is not None and self.logics.scene.GetNodeByID(ct_node.GetID() or "") is ct_node:
            return
        if not case_id:
            raise InvalidInput(tr("The CT is no longer loaded."), tr("Choose another one."))
        raise InvalidInput(
            tr("The CT was closed before its result came, so the result was left out."),
            tr("The server keeps it as case {case}; load the CT and analyse it again.").format(case=case_id),
        )

    def new_file(self, name: str, content: bytes) -> str:
        """A file that only this user can read; it goes when the module does."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="lungxai-")
        path = Path(self._folder) / name
        path.write_bytes(content)
        return str(path)
