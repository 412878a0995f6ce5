"""Objects as tables: QuPath's export columns, as files for a whole cohort and as data frames."""
