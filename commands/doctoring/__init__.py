"""What `pcpad doctor` looks at: packages, whether they can be imported, the machine, folders.

Nothing here imports torch or anything else of what is looked at, all of which may be broken.
"""
