"""Maps of the tracks in two and three dimensions, and how far to believe them."""
