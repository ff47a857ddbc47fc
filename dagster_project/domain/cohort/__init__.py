"""Who is eligible, who trains a model, and the quality gate."""
