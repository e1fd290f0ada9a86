"""The corpus: text, voices, rooms and pictures, composed into labelled conversations."""
