"""Bytes to pixels: images, PNGs, videos, folders of them, and caches of what was found out about them.

At home here: anything that opens a file and knows no data set. What the pixels mean is in `datasets`.
"""
