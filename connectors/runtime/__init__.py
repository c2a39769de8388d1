"""Runtime of a connector: read, map, publish, wait for acknowledgements, save the cursor."""
