"""The judgment: the report's schema, the evidence that fills it, the limits and the gate."""
