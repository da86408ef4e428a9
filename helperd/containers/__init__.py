"""Containers of our own.

This package file imports nothing: `shim.py` runs with the standard library alone and loads its siblings from here.
"""
