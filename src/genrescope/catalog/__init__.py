"""The room ``catalog``: which tracks there are, and what is known about them."""
