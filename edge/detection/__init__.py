"""From fire pixels to alarms and events: zones, flicker, alarm rules. Knows no sinks and no commands."""
