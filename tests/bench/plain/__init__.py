"""Plain fold on the same records with four engines: a floor, ours, stock Faust and Quix Streams."""
