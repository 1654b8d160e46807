"""The room ``audio``: from a file to numbers."""
