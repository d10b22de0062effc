"""Moving a trained network to another padding, and how wrong a network is near its borders.

At home here: what needs a trained network and unlabelled photographs, in plain PyTorch.
"""
