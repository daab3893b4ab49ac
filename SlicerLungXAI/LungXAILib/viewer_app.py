"""The browser page of one case: trame-slicer's views as pictures that stream to the browser, and the panel beside them.

ViewerApp        one page over one case; its state is the page's, and every change of it goes into the scene
new_token()      what the address must carry

What goes to the browser, and how it is kept from others:
  GET /                 a few lines that keep the token for a reload of the page, and pass it on; no data of the case
  GET /index.html?secret=TOKEN   trame's own files, from this machine; no data of the case
  websocket /ws         everything else; it answers nobody who does not know the token
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Callable

from shared_models.contract.errors import LungXAIError

from .case_results import CaseResults
from .heat_labels import shorten_legend
from .logics import SceneLogics
from .rendering import (
    PLANES,
    THREE_D,
    WINDOWS,
    dressed,
    fit_three_d,
    kept_whole,
    look_at,
    place_mm,
    prepare,
    quiet,
    show_legends,
    slice_view,
    whole_slice,
)
from .text import tr
from .viewer import NO_HEATMAP, opened

_FPS, _MOVING_QUALITY, _STILL_QUALITY = 20.0, 70, 95
_SAME_MM = 2e-3
_WINDOW_LABELS = {"lung": "Lung", "mediastinum": "Mediastinum"}
# Only files of this machine: nothing is loaded from, or sent to, anywhere else.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; form-action 'none'"
)
_DOOR = """<!doctype html><html lang="en"><meta charset="utf-8"><title>LungXAI</title>
<body style="background:#0d1117;color:#e6edf3;font:16px sans-serif;padding:2em"><p id="words"></p><script>
const given = new URLSearchParams(location.search).get("secret");
if (given) sessionStorage.setItem("lungxai", given);
const kept = sessionStorage.getItem("lungxai");
const socket = (location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/ws";
if (kept) location.replace("index.html?" + new URLSearchParams({secret: kept, sessionURL: socket}));
else document.getElementById("words").textContent =
  "This page needs the whole address that lungxai view printed, with what follows the question mark.";
</script></body></html>"""


def new_token() -> str:
    """256 bits that nobody guesses."""
    return secrets.token_urlsafe(32)


class ViewerApp:
    """The page of one case.

    Parameters
    ----------
    logics, ct_node : a scene of its own, with the CT that was analysed
    case : its results
    name : of trame's server; one page has one of its own

    Raises
    ------
    InvalidInput, BadGeometry : the CT is not the one that was analysed.

    Attributes
    ----------
    viewer : the case in the scene
    slices : plane, of PLANES, to its trame_slicer SliceView
    three_d : trame_slicer ThreeDView
    server : trame's
    """

    def __init__(self, logics: SceneLogics, ct_node: Any, case: CaseResults, name: str = "lungxai") -> None:
        from trame.app import get_server
        from trame.ui.html import DivLayout
        from trame.widgets import client
        from trame_rca import module as remote_areas

        self.server = get_server(name, client_type="vue3")
        self.server.enable_module(remote_areas)
        self.slices: dict[str, Any] = {}
        self._legend_for_px = 0
        self._make_views(logics)  # before the case comes; see rendering.Views
        self.viewer = opened(logics, ct_node, case)
        for node in self.viewer.nodes.heatmaps.values():
            shorten_legend(node)  # the page says the rest
        look_at(list(self.slices.values()), self.three_d, ct_node)
        self._fill_state()
        page = files(__package__)
        with DivLayout(self.server, height="100%") as layout:
            layout.root.classes = "lungxai-root"
            client.Style(page.joinpath("viewer_page.css").read_text(encoding="utf-8"))
            layout.root.add_child(f'<div id="lungxai">{page.joinpath("viewer_page.html").read_text("utf-8")}</div>')
        for view in self.slices.values():
            view.modified.connect(self._read_places)
        self._read_places()

    # The views

    def _make_views(self, logics: SceneLogics) -> None:
        from trame_slicer.views import ThreeDView

        prepare(logics)
        with quiet():
            for plane in PLANES:
                self.slices[plane] = slice_view(logics, plane)
                self._stream(self.slices[plane], plane)
            self.three_d = ThreeDView(logics.scene, logics.application, THREE_D)
            self._stream(self.three_d, THREE_D)

    def _stream(self, view: Any, name: str) -> None:
        """Send what a view draws to the area of its name on the page."""
        from trame_rca.schedulers import RcaImageRenderScheduler
        from trame_rca.utils import RcaViewAdapter
        from trame_server.utils.asynchronous import create_task
        from trame_slicer.rca_view.rca_view_factory import RcaRenderStrategy, RcaWindow

        view.render_window().SetMultiSamples(0)
        dressed(view)  # the notice is in the head of the page
        cursor = f"cursor_{name}"
        self.server.state.setdefault(cursor, "default")
        window = RcaWindow(view.render_window(), self.server.state, cursor)
        scheduler = RcaImageRenderScheduler(
            window, target_fps=_FPS, interactive_quality=_MOVING_QUALITY, still_quality=_STILL_QUALITY
        )
        adapter = RcaViewAdapter(window, name, scheduler=scheduler, do_schedule_render_on_interaction=False)
        view.set_scheduled_render(RcaRenderStrategy(scheduler))

        async def register() -> None:
            await self.server.ready  # its protocol is there only then
            self.server.controller.rc_area_register(adapter)

        create_task(register())

    def views(self) -> Sequence[Any]:
        """All four."""
        return (*self.slices.values(), self.three_d)

    # The page's state

    def _fill_state(self) -> None:
        viewer, state = self.viewer, self.server.state
        every = [{"id": plane, "name": tr(plane), "plane": True} for plane in PLANES]
        listed = viewer.heatmaps()
        state.update(
            {
                "trame__title": f"LungXAI {viewer.title}",
                "title": viewer.title,
                "synthetic": viewer.case.synthetic,
                "notice": viewer.notice,
                "views": [*every, {"id": THREE_D, "name": "3D", "plane": False}],
                "nodules": viewer.nodules(),
                "row": -1,
                "heatmaps": listed,
                "heat": listed[0]["key"] if listed else NO_HEATMAP,
                "opacity": 60,
                "threshold": 25,
                "outlines": True,
                "ct_window": "lung",
                "windows": [{"key": key, "label": tr(_WINDOW_LABELS[key])} for key in WINDOWS],
                "slices_in_3d": True,
                "fusion": viewer.fused(),
                "models": viewer.models(),
                "notes": viewer.notes(),
                "made": viewer.case.made,
                "said": "",
                **{f"place_{plane}": None for plane in PLANES},
            }
        )
        state.change("heat", "opacity", "threshold", "outlines", "ct_window")(self._show)
        state.change("slices_in_3d")(self._slices_in_3d)
        state.change(*(f"place_{plane}" for plane in PLANES))(self._move)
        for name, call in (("jump", self.jump), ("whole", self._whole)):
            self.server.trigger(name)(call)
        self._show()
        self._slices_in_3d()

    def _show(self, **_: Any) -> None:
        state = self.server.state
        try:
            self.viewer.show(
                state.heat, float(state.opacity) / 100, float(state.threshold) / 100, bool(state.outlines),
                state.ct_window,
            )  # fmt: skip
        except LungXAIError as fault:
            state.said = str(fault)
        show_legends(self.viewer.logics, [self.slices["Axial"]])
        self._draw()

    def _slices_in_3d(self, **_: Any) -> None:
        for plane in ("Axial", "Coronal"):
            self.slices[plane].set_visible_in_3d(bool(self.server.state.slices_in_3d))
        self._draw()

    def jump(self, row: int) -> None:
        """Every view to the nodule of a row."""
        state = self.server.state
        try:
            with kept_whole(list(self.slices.values()), self.viewer.nodes.ct):
                state.said = self.viewer.jump(int(row))
            state.row = int(row)
        except LungXAIError as fault:
            state.said = str(fault)
        self._read_places()
        self._draw()

    def _move(self, **_: Any) -> None:
        for plane, view in self.slices.items():
            wanted = self.server.state[f"place_{plane}"]
            if wanted is not None and abs(float(wanted) - view.get_slice_value()) > _SAME_MM:
                view.set_slice_value(float(wanted))
        self._draw()

    def _whole(self, name: str) -> None:
        if name == THREE_D:
            fit_three_d(self.three_d, self.viewer.nodes.ct)
        else:
            whole_slice(self.slices[name])
        self._draw()

    def _read_places(self, *_: Any) -> None:
        """Where the slices are, into the page: moved by the wheel, a slider or a jump."""
        width = self.slices["Axial"].render_window().GetSize()[0]
        if width != self._legend_for_px:
            self._legend_for_px = width
            show_legends(self.viewer.logics, [self.slices["Axial"]])
        ranges, readings = {}, {}
        with self.server.state as state:
            for plane, view in self.slices.items():
                place = view.get_slice_value()
                # What the page itself has set is not sent back: a slider that moves on would be pulled back to it.
                if state[f"place_{plane}"] is None or abs(float(state[f"place_{plane}"]) - place) > _SAME_MM:
                    state[f"place_{plane}"] = round(place, 3)
                low, high = view.get_slice_range()
                ranges[plane], readings[plane] = [low, high, view.get_slice_step()], place_mm(view)
            state.update({"ranges": ranges, "readings": readings})

    def _draw(self) -> None:
        for view in self.views():
            view.schedule_render()

    # The server

    def start(
        self,
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
        on_ready: Callable[[str], None] = lambda url: None,
        exec_mode: str = "main",
    ) -> Any:
        """Serve the page.

        Parameters
        ----------
        token : the address must carry it
        port : 0 takes a free one
        on_ready : called with the whole address once it answers
        exec_mode : trame's: "main" returns when the server ends, "task" at once
        """
        server = self.server
        # Else trame would read this program's own arguments.
        server.cli.set_defaults(authKey=token)
        arguments = server.cli.parse_known_args([])[0]
        server.cli.parse_known_args = lambda *_: (arguments, [])
        headers = {
            "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
        }  # fmt: skip
        for name, value in headers.items():
            server.http_headers.set_header(name, value)
        server.controller.on_server_bind.add(_doors)
        server.controller.on_server_ready.add(
            lambda **_: on_ready(f"http://{_shown(host)}:{server.port}/?secret={token}")
        )
        return server.start(
            port=port, host=host, open_browser=False, show_connection_info=False, timeout=0, exec_mode=exec_mode,
            disable_logging=True, thread=exec_mode != "main",  # signals belong to whoever owns the loop
        )  # fmt: skip

    def close(self) -> None:
        """Give the graphics memory back."""
        for view in self.views():
            view.finalize()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _doors(web_server: Any) -> None:
    """Answer an address without the token in words, and keep the token when the page is loaded again."""
    from aiohttp import web

    async def door(request: Any) -> Any:
        if request.path == "/index.html" and request.query.get("secret"):
            return web.FileResponse(_index())
        return web.Response(text=_DOOR, content_type="text/html")

    web_server.app.router.add_get("/", door)
    web_server.app.router.add_get("/index.html", door)


def _index() -> str:
    from trame_client.module import vue3

    return f"{vue3.www}/index.html"
