"""What is logged, promoted and predicted."""
