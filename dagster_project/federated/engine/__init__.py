"""Processes of a run: what carries the participants' bytes between hospitals and coordinator."""
