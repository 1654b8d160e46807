"""Which features models use, and what one may conclude from it."""
