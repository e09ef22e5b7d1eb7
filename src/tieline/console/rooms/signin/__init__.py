"""Who signs in, and how: passwords, one-time links, passkeys, an identity provider."""
