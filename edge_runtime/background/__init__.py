"""The background model: answers what the interaction model hands on."""
