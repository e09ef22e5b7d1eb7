"""Other forms of the one request: OpenAI's Responses and Anthropic's Messages, as chats of any engine."""
