"""Containers of music, taken apart so that genres alone can be exchanged, byte by byte."""
