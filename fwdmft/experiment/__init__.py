"""What an experiment is: one pydantic model, read from YAML or JSON, that refuses what it does not know."""
