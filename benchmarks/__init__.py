"""Measurements side by side; what was seen is in RESULTS.md."""
