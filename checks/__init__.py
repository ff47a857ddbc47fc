"""What the data must hold, shown beside the assets; the gate asks the same rules again for itself."""
