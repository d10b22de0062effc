"""The items of data sets: the files, labels, masks, crops and clips that they consist of.

This folder holds code that knows a data set's layout or classes. Decoding files is in `reading`.
"""
