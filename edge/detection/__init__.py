"""From fire pixels to alarms and events: zones, flicker, alarm rules. Imports no sinks and no commands."""
