"""What pydicom says while it reads is not shown: its warnings and log records quote values, which may be a patient's.

discreet()   silences it in this thread
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def discreet() -> Iterator[None]:
    """Silence pydicom in this thread."""
    here, log = threading.get_ident(), logging.getLogger("pydicom")

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    log.addFilter(elsewhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeFilter(elsewhere)
