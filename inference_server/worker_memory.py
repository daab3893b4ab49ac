"""What a worker remembers of its work, so that the same thing asked again costs nothing; gone with its process.

TileAnswers   what tiles were answered, by the hash of the batch that they came in
KeptFrames    encoded heatmaps, by the hash of everything that they were made of

Both are bounded, and forget what was used longest ago. Everything is kept under hashes of its inputs, and a worker has
the same models all its life: what is found is what would be computed.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any, Optional

from shared_models.contract.values import Array

_MOST_ROWS = 500_000
_MOST_BYTES = 256 << 20


def key_of(*said: Any) -> str:
    """One name for inputs that JSON can hold, whatever they are."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class TileAnswers:
    """Answers of tiles; one entry is float32 (n, columns + 1): the answers, and the quality."""

    def __init__(self, columns: int, most_rows: int = _MOST_ROWS) -> None:
        self.columns = columns
        self._most = most_rows
        self._kept: OrderedDict[str, Array] = OrderedDict()
        self._rows = 0

    def __contains__(self, frame: str) -> bool:
        return frame in self._kept

    def get(self, frame: str) -> Optional[Array]:
        """The entry of a batch; None where it is not known."""
        found = self._kept.get(frame)
        if found is not None:
            self._kept.move_to_end(frame)
        return found

    def put(self, frame: str, rows: Array) -> None:
        """Remember a batch; one that is there already stays as it is."""
        if frame in self._kept:
            return
        self._kept[frame] = rows
        self._rows += len(rows)
        while self._rows > self._most:
            self._rows -= len(self._kept.popitem(last=False)[1])


class KeptFrames:
    """Encoded values by name, up to so many bytes together."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Optional[bytes]:
        """The value of this name; None where it is not known."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: str, frame: bytes) -> None:
        """Remember a value; one that is larger than all there is room for is not."""
        if key in self._kept or len(frame) > self._most:
            return
        self._kept[key] = frame
        self._bytes += len(frame)
        while self._bytes > self._most:
            self._bytes -= len(self._kept.popitem(last=False)[1])
