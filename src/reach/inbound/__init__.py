"""Where reports of bounces and complaints come in as email."""
