"""`make bench-peers`: workd beside other job systems, each in its own words and with its own fast settings."""
