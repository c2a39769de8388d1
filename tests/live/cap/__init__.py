"""SAP's CAP as a peer: the application that it serves, and how it is started and filled."""
