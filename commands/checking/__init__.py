"""Parts of `pcpad check` that need more than a list of files.

At home here: what is looked at, counted and drawn of one's own folders.
"""
