"""The city's side: the reference subscriber that stores every event once and says so."""
