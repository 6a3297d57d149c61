"""`make bench`: our speed beside other people's, on the same samples, taking turns, in one table."""
