"""What we owe people, and how it reaches them. Knows nothing of people but their ids."""
