"""The experiment's configuration, its only graph, and the runners that execute it."""
