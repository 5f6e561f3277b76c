"""The development mailbox: a mail server that passes nothing on, and the pages to read it."""
