"""Models that ship, and the factories that made them."""
