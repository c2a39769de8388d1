"""The demo: real purchase histories (CDNOW) and a simulated telecom company, from source files to answers."""
