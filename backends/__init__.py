"""Programs that run a mapped program and return what happened, one module or folder a backend."""
