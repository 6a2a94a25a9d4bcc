"""What is measured of a model: tasks, their data and their metrics."""
