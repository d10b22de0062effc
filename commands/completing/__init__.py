"""What `pcpad completion` looks up: the options of the trainer's verbs.

Building their parsers imports Lightning, which the command's own help does without.
"""
