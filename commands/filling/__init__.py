"""The parts of `pcpad fill`: finding pictures and masks, masks from colors and scratches, results and their sheet."""
