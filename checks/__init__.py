"""What the data must hold, shown beside the assets.

The gate evaluates the same rules again for itself.
"""
