"""What a model is trained on: cohorts, columns, sequences, folds."""
