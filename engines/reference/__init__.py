"""The reference interaction model and its factory."""
