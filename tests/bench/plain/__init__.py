"""The plain fold on the engines a user could pick: a floor, ours, stock Faust and Quix Streams, on the same records."""
