"""Identity map: pure rules that decide which identifiers belong to one customer.

Each identifier is a node. Nodes, routes and decisions are rows of the sequencer (`streams/steps/link.py`).
"""
