"""A simulated telecom company: seeded customers with known identity, satisfaction and time of leaving.

`people` and `supply` describe the world, `satisfaction` the latent state of a customer. `life` simulates one customer through
`ordering`, `service`, `tickets`, `surveys` and `posts`. `vendors` turns events into the records of each system, `drops` writes
these as files, and `truth` writes the facts that only the simulator knows, outside of the drops.
"""
