"""Case reports: CSV, workbooks, REDCap, ODM."""
