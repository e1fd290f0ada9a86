"""Where the microphones of arrays are, and how well bearing and beam do."""
