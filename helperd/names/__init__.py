"""Names inside container networks: tables and answers (pure), the process that gives them, and the core's hold on it."""
