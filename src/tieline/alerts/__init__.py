"""Who is called, when, once: incidents out of what needs a person, their messages, and who has seen them."""
