"""Simulated parts, chosen by name in a configuration: they ship, and they obey the contracts of the real ones."""
