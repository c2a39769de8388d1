"""One module per `touchline` command; the file name is the command name, and it holds one click command called `command`."""
