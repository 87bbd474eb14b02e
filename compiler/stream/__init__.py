"""Networks on a stream of time steps: what NIR files of other tools hold, from the file to integers."""
