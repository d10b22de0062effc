"""Bytes to pixels: images, PNGs, videos, folders of them, and caches of what was read from them.

This folder holds code that opens files without knowing any data set. What the pixels mean is in `datasets`.
"""
