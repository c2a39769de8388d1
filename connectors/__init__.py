"""Sources: fetch or receive, map, publish, then save the cursor."""
