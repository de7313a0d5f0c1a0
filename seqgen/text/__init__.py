"""Text: tokenizers, and the directories that text is learnt from."""
