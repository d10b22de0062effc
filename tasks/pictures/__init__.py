"""What tasks draw: sheets of pictures, colors of classes, plots.

At home here: pixels for people to look at. Pictures that are results are read and written by `pcpad.pictures`.
"""
