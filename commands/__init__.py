"""The suite's own verbs beside fit, validate, test and predict, one per file.

A verb is a module here with a `main(args: list[str]) -> None`, and a line in `VERBS`. Modules are imported when their
verb is called, so that `pcpad --help` stays quick.
"""

# What `pcpad --help` says of each, in the order it lists them.
TRAINER_VERBS = {
    "fit": "train, and validate after each epoch",
    "validate": "evaluate on the validation data",
    "test": "evaluate on the test data; ends with a table of the metrics",
    "predict": "apply a checkpoint to a folder of images or videos",
}
VERBS = {
    "configs": "list the packaged recipes",
    "sample": "write a small data set in a true on-disk format",
    "check": "decode what training and evaluation read, list what is broken, short, missing or unused",
    "fill": "fill what is damaged in pictures: scratches, writing, stamps, holes",
    "adapt": "convert a trained network to another padding, and recover it without labels",
    "compare": "run a grid of paddings and seeds, and print the papers' tables of it",
    "paper": "print the papers' tables with your runs beside the published values, and draw their figures",
    "figure": "draw one of the papers' figures from checkpoints, a network or a picture",
    "borders": "measure how wrong a network is near borders, under each padding, without labels",
    "bench": "time a network under several paddings",
    "export": "write a checkpoint as ONNX or torch.export, checked against PyTorch",
    "doctor": "show what is installed and found here, and the problems known of it",
    "completion": "print what makes bash, zsh, tcsh or fish complete all this",
}
