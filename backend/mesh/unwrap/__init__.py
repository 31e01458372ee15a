"""Charts cut, flattened and packed into a UV layout."""
