"""How tasks are evaluated: evaluators (`--eval`), and reports with their tables and files.

At home here: what is found out about a network at test time. Metrics themselves are in `pcpad.metrics`.
"""
