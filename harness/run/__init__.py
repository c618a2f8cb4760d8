"""One run of a session: its folder, its record, its cells in parallel, its walks, its one end."""
