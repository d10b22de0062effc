"""Drawings of tasks: sheets of pictures, colors of classes, plots.

Belongs here: pictures for people to look at. Pictures that are results are read and written by `pcpad.pictures`.
"""
