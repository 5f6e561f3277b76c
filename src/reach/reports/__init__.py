"""What mail servers and providers report of a message after it was sent."""
