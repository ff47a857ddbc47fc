"""What readers outlined and measured: locks, agreement, arbitration, stability."""
