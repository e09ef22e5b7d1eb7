"""The reader's parts: a document as text, numbers, periods, words, layouts, sentences, and what to believe."""
