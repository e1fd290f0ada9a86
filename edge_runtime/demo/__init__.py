"""The demonstration: a generated person in a conversation with the device."""
