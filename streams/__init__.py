"""The Faust side: identify, join, and read signals from customer journeys."""
