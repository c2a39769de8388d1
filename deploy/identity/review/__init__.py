"""Review of identities: customers that are probably one person, by a statistical comparison of their traits."""
