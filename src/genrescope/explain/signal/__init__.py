"""One piece of a track: what can be measured in it, its pictures, and the page about it."""
