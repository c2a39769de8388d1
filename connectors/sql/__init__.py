"""Tables and views of PostgreSQL and MariaDB, read by the time of their rows' last change."""
