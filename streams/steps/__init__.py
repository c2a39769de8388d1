"""The steps of the chain, in the order of `streams/pipeline.py`: identify, link, join."""
