"""A 5 Hz runtime for full-duplex interaction models on robots, kiosks and smart devices."""

import os

__version__ = "0.1.0"
# Read once, when OpenCV is loaded: a picture of a few bytes may claim any size. 8K has as many.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**25))
