"""Networks, one family a file, and the one way to load weights into them."""

from pcpad.models.classifiers import classifier
from pcpad.models.weights import load_weights

__all__ = ["classifier", "load_weights"]
