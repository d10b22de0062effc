"""The packaged recipes, one experiment a file. `pcpad configs` lists them."""
