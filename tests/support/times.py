"""Settings of tests: times short enough to wait for, and no limits."""

#: Short, because what a dead worker held is waited for; long enough for a busy machine.
LEASE_SECONDS = 2.0


#: What a busy machine may be late by, where something is to be done soon.
LATE_SECONDS = 5.0


#: A disk that others write to may stand still for longer than callers wait for SQLite.
PATIENT_DISK = {"database_seconds": 8}


#: Tests come from one address and come often; those of limits set their own.
UNLIMITED = dict.fromkeys(
    ("limit_signups", "limit_api", "limit_failed_keys", "limit_failed_links"), "off"
)


#: Each has the same relation to the others as the real ones have.
SHORT_TIMES = {
    "secret_key": "a-key-that-is-long-enough-for-tests",
    "lease_seconds": 5,
    "grace_seconds": 5,
    "retry_first_seconds": 0.2,
    "retry_cap_seconds": 2,
    "breaker_first_seconds": 0.1,
    "breaker_cap_seconds": 0.5,
    "smtp_greeting_seconds": 3,
    "smtp_mail_seconds": 3,
    "smtp_rcpt_seconds": 3,
    "smtp_data_seconds": 3,
    "smtp_final_seconds": 6,
}
