"""LightningModules, one task a file. A batch's form is stated in each class's docstring."""
