"""What a person at the site sees and does without the link: a page of its own, with a password of its own."""
