"""Presence gateway: what is this person doing right now?"""

__version__ = "0.1.0"
