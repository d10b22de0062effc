"""LightningDataModules, one data set a file. A batch's form is stated in each class's docstring."""
