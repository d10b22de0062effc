"""Moving a trained network to another padding, and how wrong a network is near borders.

`reach` is how far a network looks.
"""
