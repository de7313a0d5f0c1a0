"""Text as it is spoken: written English becomes clauses of words, with where in the text each word stands."""
