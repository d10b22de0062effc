"""What `pcpad bench` is made of: timing side by side, the networks, one call of each kind, the table."""
