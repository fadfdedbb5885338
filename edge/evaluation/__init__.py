"""Score the detector on recordings: alarms, delays, false alarms, sensitivity. Used by one command, never by a run."""
