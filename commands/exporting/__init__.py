"""What `pcpad export` is made of: the network with its task's normalization, writing it, checking the file."""
