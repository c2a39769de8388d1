"""Table of the evidence of the identity map."""
