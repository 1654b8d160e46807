"""The room ``learn``: from numbers to a recogniser."""
