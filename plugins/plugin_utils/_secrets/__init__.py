"""Vaults that keep key passwords; used on the controller only."""
