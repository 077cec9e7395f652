"""The network: layers, head, model builder, ensemble. Importing it does nothing."""
