"""Run folders: what a run is made from, what it leaves, and how it is used again."""
