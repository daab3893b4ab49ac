"""NOTICE: what stands on every output."""

NOTICE = "Research use only, not a diagnosis."
