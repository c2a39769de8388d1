"""Who may read and write what: roles as SQL, and the columns that hold personal data."""
