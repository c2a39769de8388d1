"""A simulated telecom company: seeded customers whose identity, satisfaction and time of leaving are known.

`people` and `supply` are the world, `mood` is the latent satisfaction, `life` tells one customer's story through
`ordering`, `service`, `tickets`, `surveys` and `voice`; `vendors` says how each system would export it, `drops`
writes the files, and `truth` writes what only the simulator can know, beside the drops and never inside them.
"""
