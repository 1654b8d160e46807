"""The report of the laboratory: what it holds, its sections, and the files beside it."""
