"""Pronunciation of English: clauses of words become phones, by a lexicon, by context and by what a user says."""
