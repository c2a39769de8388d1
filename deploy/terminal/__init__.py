"""Terminal output of all commands: one console, one table layout, text without control characters, the command's own path."""
