"""The revisions, named r0001, r0002 and so on. What one has done is never edited; a new one follows it."""
