"""Every statistic of the study, once: arrays in, figures with their bounds out; no tables."""
