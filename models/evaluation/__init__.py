"""Cross-fitting, appraisal and explanation."""
