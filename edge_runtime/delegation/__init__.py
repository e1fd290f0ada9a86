"""What the device hands on, and what it keeps track of meanwhile."""
