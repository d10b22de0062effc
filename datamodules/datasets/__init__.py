"""What one item of a data set is: which files, labels, masks, crops and clips it consists of.

At home here: anything that knows a data set's layout or classes. Turning bytes to pixels is in `reading`.
"""
