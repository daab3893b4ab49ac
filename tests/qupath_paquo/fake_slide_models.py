"""The backend of tests/fake_models.py whose slide model says at what scale it looks, as a real one does."""

from __future__ import annotations

from pathlib import Path

from fake_models import FakeBackend


def load(models: Path, device: str, threads: int, slide_model: str = "", added: Path | None = None) -> FakeBackend:
    backend = FakeBackend()
    backend.models[1].update(tile_px=16, spacing_um_px=0.5)
    return backend
