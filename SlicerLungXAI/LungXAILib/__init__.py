"""LungXAILib: between a MRML scene and the values of the contract. Scene and logics come in as arguments.

The scene
  logics                                                         the scene with its module logics
  volumes, loading, dicom_source, corrections                    from nodes to values
  case_results -> results -> segmentations, heatmaps, nodules, fusion_nodes, record, hierarchy   from values to nodes
  coordinates, colours, terminology, naming, text                what they share
The module in 3D Slicer
  panel and the other *_panel, widgets, workflow, jobs, pump     what a user does, and what then happens
  server_connection, local_server, preferences, clinical_form, batch, places, shortcuts, samples, self_test
Without 3D Slicer
  view_command, viewer, viewer_app, rendering, case_files        the same scene in the browser

Nothing here imports qt or ctk, or touches slicer.app; HTTP goes through shared_models.contract.client alone.
MRML is touched on the main thread only; what a worker thread does is HTTP and the codec (case_results.fetch()).
Python 3.9 and numpy 1.26 are the oldest that run it (Slicer 5.8).
"""

from __future__ import annotations

import importlib.util
import os
import sys

# Installed, the contract lies beside the module; in a checkout, one folder further up, where Slicer does not look.
if importlib.util.find_spec("shared_models") is None:
    _checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.isdir(os.path.join(_checkout, "shared_models", "contract")):
        sys.path.append(_checkout)
