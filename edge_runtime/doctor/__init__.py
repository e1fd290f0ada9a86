"""What is there and works on this machine: `edge-runtime doctor`."""
