"""LungXAILib: between a MRML scene and the values of the contract. Scene and logics come in as arguments.

Scene      logics.py
In         volumes.py, coordinates.py, corrections.py
Out        case_results.py -> results.py -> segmentations.py, heatmaps.py, nodules.py, fusion_nodes.py, record.py
Names      text.py, terminology.py, colours.py, hierarchy.py

Nothing here imports qt or ctk, or touches slicer.app; HTTP goes through shared_models.contract.client alone.
MRML is touched on the main thread only; case_results.fetch() alone may run on another one.
Python 3.9 and numpy 1.26 are the oldest that run it (Slicer 5.8).
"""
