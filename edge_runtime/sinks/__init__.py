"""Where decisions go: recorders, views, robots, homes."""
