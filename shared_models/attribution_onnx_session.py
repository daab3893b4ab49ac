"""An ONNX graph of one input, run for many: as many inputs side by side as there are threads.

OnnxSession   the graph with its sessions

Measured on two cores with the nodule network (64 x 64): the operators of one small image gain next to nothing from a
second thread (12.5 ms for a gradient, 13.6 with one), two images side by side all of it. A single large image (a tile
of 224 x 224) does gain, so an input that comes alone gets all threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import torch
from torch import Tensor


class OnnxSession:
    """Takes one input at a time: on a CPU batches gain nothing here, and any number of inputs fits.

    Parameters
    ----------
    model : serialised ONNX, whose inputs have a first axis of 1
    threads : that it may use
    ready : run the model as it is, without ONNX Runtime's own rewriting
    """

    def __init__(self, model: bytes, threads: int, ready: bool = False) -> None:
        self._model, self._threads, self._ready = model, max(1, threads), ready
        self._sessions: dict[int, Any] = {}  # by threads; made when first asked for

    def _session(self, threads: int) -> Any:
        if threads not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = threads
            if self._ready:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            self._sessions[threads] = onnxruntime.InferenceSession(
                self._model, options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[threads]

    def rows(self, given: Mapping[str, Optional[Tensor]]) -> tuple[Tensor, ...]:
        """The graph's outputs (n, ...), in their order.

        Parameters
        ----------
        given : name of an input to its values (n, ...), n > 0; None leaves the name out

        Raises
        ------
        Exception : of onnxruntime's own kinds, where it cannot run the model.
        """
        arrays = {name: part.float().contiguous().numpy() for name, part in given.items() if part is not None}
        count = len(next(iter(arrays.values())))
        aside = min(self._threads, count)
        session = self._session(1 if aside > 1 else self._threads)

        def row(k: int) -> Any:
            return session.run(None, {name: array[k : k + 1] for name, array in arrays.items()})

        if aside > 1:
            with ThreadPoolExecutor(aside, "onnx") as pool:
                found = list(pool.map(row, range(count)))
        else:
            found = [row(k) for k in range(count)]
        return tuple(torch.cat([torch.from_numpy(part) for part in parts]) for parts in zip(*found))
