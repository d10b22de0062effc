"""The suite's own verbs beside fit, validate, test and predict, one a file."""
