"""The toolkit's rooms: boxes, data, training and evaluation helpers. Importing it does nothing."""
