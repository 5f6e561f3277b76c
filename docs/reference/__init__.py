"""The reference: every setting, metric and line of the log, written from the source itself."""
