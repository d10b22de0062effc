"""Measurements side by side; the results are in RESULTS.md."""
