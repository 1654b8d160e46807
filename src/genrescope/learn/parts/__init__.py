"""What a bundle does beside recognising sound: each part read with nothing but the core."""
