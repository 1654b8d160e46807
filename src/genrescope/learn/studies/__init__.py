"""Studies of recognisers and of what would make them better; none of it ships in a bundle."""
