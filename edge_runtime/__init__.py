"""A 5 Hz runtime for full-duplex interaction models on robots, kiosks and smart devices."""

__version__ = "0.1.0"
