"""The int8 graph: what it is calibrated on, and what it costs."""
