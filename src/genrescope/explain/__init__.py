"""The room ``explain``: from models to figures and reasons."""
