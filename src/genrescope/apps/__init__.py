"""The room ``apps``: people and other programs."""
