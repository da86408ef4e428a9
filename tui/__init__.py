"""The terminal workstation and the command line."""
