"""The networks that judge synthesized and filled images: segmentation, detection, Inception.

At home here: what runs another network on a task's output and scores what that says.
"""
