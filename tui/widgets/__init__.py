"""Widgets of the terminal workstation."""
