"""Genre against every number of a table: effects, curves, and sentences about them."""
