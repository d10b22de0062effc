"""The networks that judge synthesized and filled images: segmentation, detection, Inception.

Belongs here: code that runs another network on a task's output and scores the result.
"""
