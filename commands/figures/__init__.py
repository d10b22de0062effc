"""The figures that `pcpad figure` draws, one per file.

A figure is a module here with `add_arguments(parser)` and `draw(given)`, and a line in `FIGURES`. Modules are imported
when their figure is asked for.
"""

# By name: the module, and what `pcpad figure --help` says of it.
FIGURES = {
    "seams": ("seams", "two segmentation checkpoints side by side where they differ at tile seams and borders"),
    "leave-out": ("leave_out", "the regions that the border evaluation leaves out, over a picture"),
    "border-counts": ("border_counts", "how many output positions of each convolution reach into the padding"),
    "features": ("features", "how far features move, by place, when trained weights run under another padding"),
    "filtering": ("filtering", "where networks that learned a Gaussian filter err, at the border and inside"),
    "synthesis": ("synthesis", "label maps, what generators make of them, and what a detector finds in that"),
    "masks": ("masks", "the masks of padding, holes and panoptic maps, by the layers' own rules"),
    "inpaintings": ("inpaintings", "pictures with holes, and what inpainting checkpoints fill in"),
    "activations": ("activations", "activation maps of images that all runs of one padding alone get right"),
}
