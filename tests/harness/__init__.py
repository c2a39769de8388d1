"""Modules that tests share; `tests/README.md` lists them."""
