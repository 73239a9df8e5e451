"""Nodes behind NAT, reached over an MQTT broker."""
