"""The cluster in a browser. To come."""
