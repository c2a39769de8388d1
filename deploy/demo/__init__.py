"""The demo's input and its one-command run: real purchase histories (CDNOW) and a simulated telecom company."""
