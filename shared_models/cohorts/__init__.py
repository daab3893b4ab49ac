"""Readers of the public cohorts, one file each, into the same typed cases (case.py); `lungxai cohorts` lists them."""
