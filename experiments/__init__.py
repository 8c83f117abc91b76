"""Studies that reproduce the tables and figures: Config -> run -> rows -> table and figure."""
