"""What learns behind the gate: data sets, splits, baselines, evaluation and the log of every run."""
