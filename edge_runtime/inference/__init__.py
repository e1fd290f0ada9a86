"""Engines: what runs an interaction model, one micro-turn at a time."""
