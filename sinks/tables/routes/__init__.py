"""Table of the routes from former to current customers."""
