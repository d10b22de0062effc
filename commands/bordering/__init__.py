"""The parts of `pcpad borders`: reading photographs, and drawing what was found."""
