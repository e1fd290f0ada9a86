"""How devices and models are calibrated."""
