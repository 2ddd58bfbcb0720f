"""Detection in images without a data set, and without torch where the detector is an exported file."""
