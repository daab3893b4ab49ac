"""Tests of the suite; named as a package because others install one of this name into site-packages (torchstain)."""
