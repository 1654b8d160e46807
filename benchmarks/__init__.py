"""Speed as ratios to the usual libraries, taken in the same run."""
