"""How the city's database came to what `city.schema` says, a revision at a time; `city.database` runs them."""
