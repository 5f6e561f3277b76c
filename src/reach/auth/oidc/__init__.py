"""OpenID Connect: operators sign in where they already have an account."""
