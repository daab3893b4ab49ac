"""Where a training is computed, through Hugging Face accelerate.

accelerator_for()     device, precision and processes of a request
average_processes()   the weights of all processes become their mean
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from .contract.errors import ModelUnavailable
from .training_request import PRECISIONS, TrainRequest


def accelerator_for(request: TrainRequest, precision: str) -> Any:
    """An Accelerator; on a CPU it also sets torch's threads.

    Raises
    ------
    ModelUnavailable : accelerate is not installed, the device is not there, or it does not compute so.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, PartialState
    except ImportError as fault:
        raise ModelUnavailable("accelerate is not installed.", "pip install 'lungxai[train]'") from fault
    if request.device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable("There is no CUDA device here.", "Use --device cpu, or install torch for your GPU.")
    on_cpu = request.device == "cpu" or not torch.cuda.is_available()
    if PartialState._shared_state and PartialState().num_processes == 1:
        # Its state is one for the whole process; another training here may have another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    try:
        made = Accelerator(cpu=on_cpu, mixed_precision=PRECISIONS[precision])
    except (ValueError, RuntimeError) as fault:
        raise ModelUnavailable(f"This machine cannot compute so: {fault}", "Use --precision fp32.") from fault
    if on_cpu:
        torch.set_num_threads(_threads(request, made.num_processes))
    return made


def _threads(request: TrainRequest, processes: int) -> int:
    return request.threads or max(1, min(8, (os.cpu_count() or 1) // processes))


@torch.no_grad()
def average_processes(accelerator: Any, network: nn.Module) -> None:
    """Parameters and floating-point buffers of ``network``; every process calls it at the same step."""
    held = [t for t in network.state_dict().values() if t.is_floating_point()]
    flat = accelerator.reduce(torch.cat([t.reshape(-1) for t in held]), reduction="mean")
    for tensor, mean in zip(held, flat.split([t.numel() for t in held])):
        tensor.copy_(mean.view_as(tensor))
