"""The engine: all that a query needs. It works without Flask and knows no data set."""
