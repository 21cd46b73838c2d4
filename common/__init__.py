"""The ground floor: what every command needs, and what knows nothing of models or data."""
