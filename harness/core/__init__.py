"""Pure values: what the harness plans, sees and says. Imports nothing that acts."""
