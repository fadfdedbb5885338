"""The camera loop under load and under fire: what it costs, how it ages, what it survives."""
