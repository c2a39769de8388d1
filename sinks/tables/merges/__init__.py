"""Customers that turned out to be one."""
