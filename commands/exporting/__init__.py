"""What `pcpad export` is made of: the network with its task's normalisation, writing it, checking the file."""
