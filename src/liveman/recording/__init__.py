"""The index of recordings and their playback. To come."""
