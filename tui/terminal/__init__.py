"""Everything that makes Textual light over SSH: the only place that uses its private parts."""
