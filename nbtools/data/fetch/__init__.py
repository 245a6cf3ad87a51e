"""Getting public data: what lies where, on which terms, and fetching it so that nothing half-fetched is ever read."""
