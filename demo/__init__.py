"""The whole system on one machine: a real broker, the city's ingest, the kiosk daemon, simulated visitors."""
