"""Table of the decisions of people on the identity map."""
