"""Figures for the documentation, measured where they are asked for."""
