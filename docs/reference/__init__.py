"""The reference: all settings, commands, metrics and lines of the log, written from the source."""
