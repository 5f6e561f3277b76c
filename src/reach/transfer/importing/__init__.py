"""Lists of people from elsewhere: read, looked at by the rules of a sign-up, and added."""
