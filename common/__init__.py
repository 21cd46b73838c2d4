"""The lowest layer: what all commands share. It knows nothing about models or data, and imports no other package."""
