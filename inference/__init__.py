"""Detection in images without a data set, and without torch where the detector is an exported file."""

import warnings

# supervision works without OpenCV, and says at every import that OpenCV would be faster.
warnings.filterwarnings("ignore", message="OpenCV .* is not installed")
