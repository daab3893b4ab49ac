"""THE HTTP client, of Slicer, QuPath and the command line alike. It never raises anything of requests' own.

Client(url, token)
  hello, info, ready                            the server
  create_case, cases, case, delete_case         cases
  put_volume, put_tiles, put_clinical, put_mask what goes in
  radiology, pathology -> job id                work; wait(job_id) follows it, cancel(job_id) stops it
  volume, radiology_result, mask, pathology_result,
  clinical, heatmap, fuse, fusion_result,
  report, report_pdf                            what comes out
  notes, add_note                               what the board writes

Data goes to another host only with ``consent_to_remote=True``; redirects and proxies are not followed,
so neither can carry patient data elsewhere. Answers are read with a cap on their size.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable, Optional, TypeVar, Union
from urllib.parse import urlsplit

import requests

from . import routes
from .board_note import BoardNote
from .codec import MAX_DECODED_BYTES, PROTOCOL_VERSION, compressions, decode, encode
from .errors import (
    Cancelled,
    ContractMismatch,
    InvalidInput,
    LungXAIError,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
    from_body,
)
from .jobs import JobProgress
from .jsonforms import from_json, to_json
from .results import FusionResult, Heatmap, LabelVolume, PathologyResult, RadiologyResult
from .values import ClinicalFields, CTVolume, SlideTiles
from .wire import StraightSession, WatchedBody, event, lines, other_protocol, text, unreadable, whole_body

Point = Sequence[float]
Value = TypeVar("Value")
_MAX_JSON_ANSWER = 256 << 20
_RECONNECTS = 5
_PDF_S = 120.0  # a PDF is laid out before its first byte comes


def is_loopback(host: Optional[str]) -> bool:
    """True for localhost and loopback addresses; names are not resolved, since an answer can change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Client:
    """A connection to one inference server.

    Parameters
    ----------
    url : for example ``http://127.0.0.1:8765``
    token : bearer token of the server
    timeout_s : seconds without an answer before ServerTimeout
    consent_to_remote : the user agreed that data leaves this machine
    compression : of what is sent; None takes the best that both ends have. A program with a window takes "zlib":
        blosc2 holds the interpreter until it is done

    Raises
    ------
    InvalidInput : not an http(s) address, or another host without consent.

    Every method raises one of the errors of errors.py: what the server said, or a TransportError.
    """

    def __init__(
        self,
        url: str,
        token: str,
        timeout_s: float = 30.0,
        consent_to_remote: bool = False,
        compression: Optional[str] = None,
    ) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if not (token.isascii() and token.isprintable()):
            raise InvalidInput("The server's token is not valid.", "Copy it again from the server's own folder.")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput("The server's address is not valid.", "Give it as http://127.0.0.1:PORT.")
        if not consent_to_remote and not is_loopback(parts.hostname):
            raise InvalidInput("This server is on another machine.", "Agree to send patient data there first.")
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._compression = compression
        self._session = StraightSession()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.headers.update(
            {
                "Authorization": f"Bearer {token}",
                routes.PROTOCOL_HEADER: str(PROTOCOL_VERSION),
                # A packed answer could unpack to far more than the cap before it is counted.
                "Accept-Encoding": "identity",
            }
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    # The server

    def hello(self) -> Optional[int]:
        """The protocol that the server speaks, asked without the token; None where it is no LungXAI server."""
        with self._request("GET", routes.HEALTHZ) as answer:
            spoken = answer.headers.get(routes.PROTOCOL_HEADER, "")
            return int(spoken) if answer.status_code == 200 and spoken.isdecimal() and len(spoken) < 6 else None

    def info(self) -> dict[str, Any]:
        """Protocol, models with coverage, device and compressions of the server."""
        return self._json("GET", routes.INFO)

    def ready(self) -> dict[str, Any]:
        """Answers when the models are loaded; ModelUnavailable until then."""
        return self._json("GET", routes.READYZ)

    # Cases

    def create_case(self, case_id: Optional[str] = None, synthetic: bool = False) -> str:
        """A new case; its pseudonymous id. ``synthetic`` labels it so on every output."""
        body = {"synthetic": synthetic, **({} if case_id is None else {"case_id": case_id})}
        return text(self._json("POST", routes.CASES, body), "case_id")

    def cases(self) -> list[dict[str, Any]]:
        """Every case with the state of each modality, newest first."""
        found = self._json("GET", routes.CASES).get("cases")
        if not isinstance(found, list):
            raise unreadable()
        return found

    def case(self, case_id: str) -> dict[str, Any]:
        """One case: what it holds, and its jobs."""
        return self._json("GET", routes.case(case_id))

    def delete_case(self, case_id: str) -> None:
        """Delete a case with everything in it; its jobs are stopped."""
        self._json("DELETE", routes.case(case_id))

    # What goes in

    def put_volume(self, volume: CTVolume, sent: Callable[[int, int], None] = lambda sent, total: None) -> str:
        """Send a CT; the SHA-256 that names it. A volume that the server holds already is not sent again.

        Parameters
        ----------
        sent : called on the way with (bytes sent, bytes in all); what it raises stops the upload and is raised here
        """
        if self._compression is None:
            offered = self.info().get("compressions", ())
            known = offered if isinstance(offered, list) else []
            self._compression = next((c for c in compressions() if c in known), "zlib")
        frame = encode(volume, self._compression)
        sha256 = hashlib.sha256(frame).hexdigest()
        path = routes.volume(sha256)
        with self._request("HEAD", path) as answer:
            held = answer.status_code == 200
        if not held:
            self._checked(self._request("PUT", path, data=WatchedBody(frame, sent)))
        return sha256

    def put_tiles(self, case_id: str, tiles: SlideTiles, ahead: bool = False) -> int:
        """Send one batch of tiles; how many of the slide the server now holds.

        With ``ahead`` an idle server begins to classify them while the next ones are read.
        """
        frame = encode(tiles)
        path = routes.case(case_id, "tiles") + ("?ahead=1" if ahead else "")
        count = self._checked(self._request("POST", path, data=frame)).get("tiles")
        if not isinstance(count, int):
            raise unreadable()
        return count

    def put_clinical(self, case_id: str, fields: ClinicalFields) -> None:
        """Set the clinical fields of a case."""
        self._json("PUT", routes.case(case_id, "clinical"), to_json(fields))

    def put_mask(self, case_id: str, labels: LabelVolume) -> None:
        """Send a segmentation that a reader corrected; ``radiology(corrected=True)`` measures it."""
        self._checked(self._request("PUT", routes.mask(case_id), data=encode(labels)))

    # Work

    def radiology(
        self,
        case_id: str,
        volume_sha256: str,
        points_lps_mm: Iterable[Point] = (),
        boxes_lps_mm: Iterable[tuple[Point, Point]] = (),
        explain: Iterable[str] = (),
        corrected: bool = False,
        search: bool = True,
        target: Optional[str] = None,
    ) -> str:
        """Ask for the nodules of a CT; the job's id.

        Parameters
        ----------
        points_lps_mm, boxes_lps_mm : nodules that the user pointed at, LPS mm; a box is (lower, upper) corner
        explain : heatmap methods, of METHODS
        corrected : measure and classify the mask of put_mask() instead of searching
        search : look through both lungs too; without it the answer holds what was pointed at alone
        target : what the heatmaps explain, of CT_TARGETS; the first of them unless given
        """
        body = {
            "volume": volume_sha256,
            "points_lps_mm": [[float(x) for x in point] for point in points_lps_mm],
            "boxes_lps_mm": [[[float(x) for x in corner] for corner in box] for box in boxes_lps_mm],
            "explain": list(explain),
            **({"corrected": True} if corrected else {}),
            **({} if search else {"search": False}),
            **({"target": target} if target is not None else {}),
        }
        return text(self._json("POST", routes.case(case_id, "radiology"), body), "job_id")

    def pathology(
        self,
        case_id: str,
        slide_id: str,
        explain: Iterable[str] = (),
        tile_px: Optional[tuple[float, float]] = None,
        target: Optional[str] = None,
        contrast: Optional[str] = None,
    ) -> str:
        """Ask for the classes of a slide whose tiles were sent; the job's id.

        Parameters
        ----------
        explain : heatmap methods, of METHODS
        tile_px : (width, height) of one tile in level-0 pixels; without it, the step of the tiles' grid
        target : the class that the heatmaps explain; the one that the slide shows most of unless given
        contrast : a second class: what speaks for ``target`` rather than for it
        """
        body: dict[str, Any] = {"slide_id": slide_id, "explain": list(explain)}
        body |= {name: value for name, value in (("target", target), ("contrast", contrast)) if value is not None}
        if tile_px is not None:
            body["tile_px"] = [float(side) for side in tile_px]
        return text(self._json("POST", routes.case(case_id, "pathology"), body), "job_id")

    def job(self, job_id: str) -> JobProgress:
        """Where a job stands."""
        return JobProgress.from_json(self._json("GET", routes.job(job_id)))

    def cancel(self, job_id: str) -> None:
        """Stop a job, on the server too. A job that has ended stays as it ended."""
        self._json("DELETE", routes.job(job_id))

    def stop_jobs(self, case_id: str) -> None:
        """Stop whatever runs for a case, for a caller that was interrupted: perhaps before a job's id came.

        A server that is gone has stopped it already, so no LungXAIError leaves this method.
        """
        try:
            for job in self.case(case_id)["jobs"]:
                if job["state"] in ("queued", "running"):
                    self.cancel(job["job_id"])
        except LungXAIError:
            pass  # the server is gone, or goes with the caller

    def wait(
        self,
        job_id: str,
        on_progress: Callable[[JobProgress], None] = lambda progress: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Follow a job to its end.

        Parameters
        ----------
        on_progress : called with each JobProgress, in order
        cancelled : asked at least once a second; when it turns true the server's job is stopped

        Raises
        ------
        Cancelled : by ``cancelled`` or by another client.
        LungXAIError : the job failed; the server's error.
        """
        for progress in self._progress(job_id):
            if progress is not None:
                on_progress(progress)
                if progress.state == "failed":
                    raise progress.error or ServerError("The job failed.", "Look into the server's log.")
                if progress.state == "cancelled":
                    raise Cancelled("The job was cancelled.", "Start it again if that was not meant.")
                if progress.state == "done":
                    return
            if cancelled():
                self.cancel(job_id)
                raise Cancelled("The job was cancelled.", "")

    # What comes out

    def volume(self, sha256: str) -> CTVolume:
        """A CT that the server holds; ``case()`` names the one that was analysed."""
        return self._framed(routes.volume(sha256), CTVolume)

    def radiology_result(self, case_id: str) -> RadiologyResult:
        return from_json(RadiologyResult, self._json("GET", routes.case(case_id, "radiology")))

    def pathology_result(self, case_id: str) -> PathologyResult:
        return from_json(PathologyResult, self._json("GET", routes.case(case_id, "pathology")))

    def clinical(self, case_id: str) -> ClinicalFields:
        """The clinical fields that were put."""
        return from_json(ClinicalFields, self._json("GET", routes.case(case_id, "clinical")))

    def fusion_result(self, case_id: str) -> FusionResult:
        """The fusion as it was last made; fuse() makes it."""
        return from_json(FusionResult, self._json("GET", routes.case(case_id, "fusion")))

    def mask(self, case_id: str) -> LabelVolume:
        """The segmentation, on the CT's own grid."""
        return self._framed(routes.mask(case_id), LabelVolume)

    def heatmap(self, case_id: str, modality: str, method: str) -> Heatmap:
        """One heatmap; results.placed() puts that of a CT on the CT's whole grid."""
        return self._framed(routes.heatmap(case_id, modality, method), Heatmap)

    def fuse(self, case_id: str, weights: Optional[dict[str, float]] = None) -> FusionResult:
        """Fuse what the case holds; ``weights`` by modality replace the default ones."""
        body = {} if weights is None else {"weights": weights}
        return from_json(FusionResult, self._json("POST", routes.case(case_id, "fusion"), body))

    def report(self, case_id: str, paper: str = "a4") -> str:
        """The case's report: one HTML page that needs nothing else; ``paper`` of PAPERS is what it prints on."""
        return self._whole(routes.report(case_id, "html", paper)).decode("utf-8", "replace")

    def report_pdf(self, case_id: str, paper: str = "a4") -> bytes:
        """The same as PDF."""
        pdf = self._whole(routes.report(case_id, "pdf", paper), timeout_s=max(self._timeout_s, _PDF_S))
        if not pdf.startswith(b"%PDF-"):
            raise unreadable()
        return bytes(pdf)

    def notes(self, case_id: str) -> list[BoardNote]:
        """What the board wrote of a case, oldest first."""
        found = self._json("GET", routes.case(case_id, "notes")).get("notes")
        if not isinstance(found, list):
            raise unreadable()
        return [from_json(BoardNote, note) for note in found]

    def add_note(self, case_id: str, note: BoardNote) -> BoardNote:
        """Add a note of the board; it comes back as it was kept."""
        body = {"text": note.text, "decision": note.decision, "author": note.author}
        return from_json(BoardNote, self._json("POST", routes.case(case_id, "notes"), body))

    # The wire

    def _progress(self, job_id: str) -> Iterator[Optional[JobProgress]]:
        """Each event of a job, None in between; a broken connection is taken up again."""
        failures = 0
        while True:
            try:
                with self._opened(routes.job(job_id, events=True)) as answer:
                    for line in lines(answer):
                        failures = 0
                        moment = event(line)
                        yield moment
                        if moment is not None and moment.ended:
                            return
                # An orderly end without the job's end: taken up again too, but not in a loop without a pause.
                raise ServerUnreachable("The server stopped answering.", "Restart it; its jobs go on.")
            except (requests.RequestException, ServerUnreachable, ServerTimeout) as fault:
                failures += 1
                if failures > _RECONNECTS:
                    raise ServerUnreachable("The server stopped answering.", "Restart it; its jobs go on.") from fault
                yield None
                time.sleep(min(0.2 * 2**failures, 2.0))

    def _whole(self, path: str, timeout_s: Optional[float] = None) -> bytearray:
        return whole_body(self._opened(path, timeout_s), _MAX_JSON_ANSWER)

    def _framed(self, path: str, kind: type[Value]) -> Value:
        answer = self._opened(path)
        value = decode(memoryview(whole_body(answer, MAX_DECODED_BYTES)))
        if not isinstance(value, kind):
            raise ContractMismatch("The server sent another kind of data.", "Update the older side.")
        return value

    def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if body is None:
            return self._checked(self._request(method, path))
        try:
            data = json.dumps(body, allow_nan=False).encode()
        except ValueError as fault:
            raise InvalidInput("A number is missing or infinite.", "Correct it and send it again.") from fault
        return self._checked(self._request(method, path, data=data, content_type="application/json"))

    def _opened(self, path: str, timeout_s: Optional[float] = None) -> requests.Response:
        """A 200 answer of this protocol, its body not yet read."""
        answer = self._request("GET", path, timeout_s=timeout_s)
        if answer.status_code != 200:
            self._checked(answer)
            raise unreadable()
        if answer.headers.get(routes.PROTOCOL_HEADER) != str(PROTOCOL_VERSION):
            answer.close()
            raise other_protocol()
        return answer

    def _request(
        self,
        method: str,
        path: str,
        data: Optional[Union[bytes, WatchedBody]] = None,
        content_type: str = routes.FRAME_TYPE,
        timeout_s: Optional[float] = None,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._url + path,
                data=data,
                headers={} if data is None else {"Content-Type": content_type},
                timeout=timeout_s or self._timeout_s,
                allow_redirects=False,
                stream=True,
            )
        except requests.Timeout as fault:
            raise ServerTimeout("The server does not answer.", "Wait, or restart it.") from fault
        except (requests.RequestException, ValueError) as fault:  # ValueError: headers that cannot be read
            raise ServerUnreachable("The server cannot be reached.", "Start it, or check its address.") from fault

    def _checked(self, answer: requests.Response) -> dict[str, Any]:
        try:
            body = json.loads(whole_body(answer, _MAX_JSON_ANSWER) or b"null")
        except (ValueError, RecursionError):
            body = None
        if answer.status_code >= 400:
            fault = from_body(body)
            fault.status = answer.status_code
            raise fault
        if answer.headers.get(routes.PROTOCOL_HEADER) != str(PROTOCOL_VERSION):
            raise other_protocol()
        if answer.status_code not in (200, 201, 202) or not isinstance(body, dict):
            raise unreadable()
        return body
