"""Model updates: fetched and verified, compared with the model in use, tried in the run, rolled back if they fail."""
