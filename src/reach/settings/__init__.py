"""Every knob, read once from the environment and passed down."""

from reach.settings.effective import Settings
from reach.settings.loading import load, unknown_variables
from reach.variables import SECRETS, BadSettings

__all__ = ["SECRETS", "BadSettings", "Settings", "load", "unknown_variables"]
